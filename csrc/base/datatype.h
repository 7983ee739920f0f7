// Triton's fourteen datatypes: number, wire name and element size.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace pyserver::base {

// The numbers of ModelConfig's DataType enum; they travel in tables.
enum class Datatype : uint8_t {
  kInvalid = 0,
  kBool = 1,
  kUint8 = 2,
  kUint16 = 3,
  kUint32 = 4,
  kUint64 = 5,
  kInt8 = 6,
  kInt16 = 7,
  kInt32 = 8,
  kInt64 = 9,
  kFp16 = 10,
  kFp32 = 11,
  kFp64 = 12,
  kBytes = 13,
  kBf16 = 14,
};

inline constexpr uint8_t kMaxDatatype = 14;

struct DatatypeRow {
  std::string_view wire;
  uint32_t byte_size;  // of one element; 0 where it varies
};

inline constexpr std::array<DatatypeRow, kMaxDatatype + 1> kDatatypes = {{
    {"<invalid>", 0},
    {"BOOL", 1},
    {"UINT8", 1},
    {"UINT16", 2},
    {"UINT32", 4},
    {"UINT64", 8},
    {"INT8", 1},
    {"INT16", 2},
    {"INT32", 4},
    {"INT64", 8},
    {"FP16", 2},
    {"FP32", 4},
    {"FP64", 8},
    {"BYTES", 0},
    {"BF16", 2},
}};

constexpr std::string_view wire_name(Datatype datatype) {
  const auto number = static_cast<uint8_t>(datatype);
  return kDatatypes[number <= kMaxDatatype ? number : 0].wire;
}

constexpr uint32_t element_byte_size(Datatype datatype) {
  const auto number = static_cast<uint8_t>(datatype);
  return kDatatypes[number <= kMaxDatatype ? number : 0].byte_size;
}

constexpr std::optional<Datatype> datatype_from_wire(std::string_view wire) {
  for (uint8_t number = 1; number <= kMaxDatatype; ++number) {
    // cppcheck-suppress containerOutOfBounds; it takes the array for one element shorter
    if (kDatatypes[number].wire == wire) return static_cast<Datatype>(number);
  }
  return std::nullopt;
}

}  // namespace pyserver::base
