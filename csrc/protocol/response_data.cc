// Typed memory to JSON text.
#include "protocol/response_data.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <type_traits>

#include "model/shapes.h"
#include "protocol/json_text.h"

namespace pyserver::protocol {

namespace {

template <typename T>
char* write_element(T value, char* at) {
  if constexpr (std::is_same_v<T, bool>) {
    const std::string_view word = value ? "true" : "false";
    std::memcpy(at, word.data(), word.size());
    return at + word.size();
  } else if constexpr (std::is_floating_point_v<T>) {
    return write_json_double(static_cast<double>(value), at);
  } else {
    return std::to_chars(at, at + kMaxNumberText, value).ptr;
  }
}

template <typename T>
void append_numbers(std::span<const uint8_t> bytes, std::string* json) {
  constexpr size_t kRun = 64;  // elements that are written before they are appended
  char text[kRun * (kMaxNumberText + 1)];
  const size_t count = bytes.size() / sizeof(T);
  for (size_t first = 0; first < count; first += kRun) {
    const size_t end = std::min(count, first + kRun);
    char* at = text;
    for (size_t index = first; index < end; ++index) {
      T value;
      if constexpr (std::is_same_v<T, bool>) {
        value = bytes[index] != 0;
      } else {
        std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof value);
      }
      if (index != 0) *at++ = ',';
      at = write_element(value, at);
    }
    json->append(text, at);
  }
}

base::Status append_strings(std::string_view output, std::span<const uint8_t> bytes, uint64_t count,
                            std::string* json) {
  for (uint64_t index = 0; index < count; ++index) {
    uint32_t length = 0;
    if (bytes.size() < sizeof length) return size_mismatch(output);
    std::memcpy(&length, bytes.data(), sizeof length);
    bytes = bytes.subspan(sizeof length);
    if (bytes.size() < length) return size_mismatch(output);
    if (index != 0) json->push_back(',');
    append_json_string({reinterpret_cast<const char*>(bytes.data()), length}, json);
    bytes = bytes.subspan(length);
  }
  return {};
}

void append_fixed(base::Datatype datatype, std::span<const uint8_t> bytes, std::string* json) {
  switch (datatype) {
    case base::Datatype::kBool:
      return append_numbers<bool>(bytes, json);
    case base::Datatype::kUint8:
      return append_numbers<uint8_t>(bytes, json);
    case base::Datatype::kUint16:
      return append_numbers<uint16_t>(bytes, json);
    case base::Datatype::kUint32:
      return append_numbers<uint32_t>(bytes, json);
    case base::Datatype::kUint64:
      return append_numbers<uint64_t>(bytes, json);
    case base::Datatype::kInt8:
      return append_numbers<int8_t>(bytes, json);
    case base::Datatype::kInt16:
      return append_numbers<int16_t>(bytes, json);
    case base::Datatype::kInt32:
      return append_numbers<int32_t>(bytes, json);
    case base::Datatype::kInt64:
      return append_numbers<int64_t>(bytes, json);
    case base::Datatype::kFp32:
      return append_numbers<float>(bytes, json);
    case base::Datatype::kFp64:
      return append_numbers<double>(bytes, json);
    default:
      return;
  }
}

}  // namespace

std::optional<uint64_t> response_elements(std::span<const int64_t> shape) {
  if (shape.empty()) return 1;
  const std::optional<int64_t> count = model::element_count(shape);
  if (!count) return std::nullopt;
  return static_cast<uint64_t>(*count);
}

base::Status size_mismatch(std::string_view output) {
  return base::internal_error(
      "Failed to write 'data' field: output tensor shape does not match size of output for '" +
      std::string(output) + "'");
}

base::Status append_json_data(std::string_view output, base::Datatype datatype,
                              std::span<const int64_t> shape, std::span<const uint8_t> bytes,
                              std::string* json) {
  if (datatype == base::Datatype::kFp16 || datatype == base::Datatype::kBf16) {
    return base::invalid_argument(
        "sending " + std::string(base::wire_name(datatype)) +
        " data via JSON is not supported. Please use the binary data format for output");
  }
  if (datatype == base::Datatype::kInvalid)
    return base::invalid_argument("Invalid data type for output tensor");
  const std::optional<uint64_t> elements = response_elements(shape);
  if (!elements) return size_mismatch(output);
  json->push_back('[');
  if (datatype == base::Datatype::kBytes) {
    base::Status status = append_strings(output, bytes, *elements, json);
    if (!status.ok()) return status;
  } else {
    uint64_t wanted = 0;
    if (__builtin_mul_overflow(*elements, uint64_t{base::element_byte_size(datatype)}, &wanted) ||
        wanted != bytes.size()) {
      return size_mismatch(output);
    }
    append_fixed(datatype, bytes, json);
  }
  json->push_back(']');
  return {};
}

}  // namespace pyserver::protocol
