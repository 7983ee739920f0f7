// Reading parameters as proto3 has them: the last of several values counts, and strings are UTF-8.
#include "protocol/grpc/parameters.h"

#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include <cstring>
#include <string>

#include "protocol/grpc/message_reader.h"

namespace pyserver::protocol::grpc {

namespace {

constexpr std::string_view kRegion = "shared_memory_region";
constexpr std::string_view kOffset = "shared_memory_offset";
constexpr std::string_view kByteSize = "shared_memory_byte_size";

struct Variant {
  WireType type;
  ParameterKind kind;
};

// By field number.
constexpr Variant kVariants[] = {
    {WireType::unknown, ParameterKind::kUnset},
    {WireType::varint, ParameterKind::kBool},
    {WireType::varint, ParameterKind::kInt},
    {WireType::length_delimited, ParameterKind::kString},
    {WireType::fixed64, ParameterKind::kDouble},
    {WireType::varint, ParameterKind::kUint},
};

bool read_value(std::string_view message, ParameterValue* value) {
  MessageReader reader(message);
  while (reader.next()) {
    if (reader.field() >= std::size(kVariants)) continue;
    const Variant& variant = kVariants[reader.field()];
    if (reader.type() != variant.type) continue;
    value->kind = variant.kind;
    value->bits = reader.bits();
    value->text = {};
    if (variant.kind == ParameterKind::kString) {
      value->text = reader.bytes();
      if (!is_utf8(value->text)) return false;
    }
  }
  return reader.complete();
}

base::Status wrong_type(std::string_view key, std::string_view tensor, std::string_view wanted) {
  return base::invalid_argument("invalid value type for '" + std::string(key) +
                                "' parameter for tensor '" + std::string(tensor) + "', expected " +
                                std::string(wanted) + ".");
}

}  // namespace

bool is_utf8(std::string_view text) {
  constexpr size_t kShort = 64;
  if (text.size() > kShort) return simdjson::validate_utf8(text.data(), text.size());
  for (const char letter : text) {
    if (static_cast<uint8_t>(letter) >= 0x80)
      return simdjson::validate_utf8(text.data(), text.size());
  }
  return true;
}

bool read_parameter_entry(std::string_view message, ParameterEntry* entry) {
  *entry = {};
  MessageReader reader(message);
  while (reader.next()) {
    if (reader.is(1, WireType::length_delimited)) {
      entry->key = reader.bytes();
      if (!is_utf8(entry->key)) return false;
    } else if (reader.is(2, WireType::length_delimited)) {
      if (!read_value(reader.bytes(), &entry->value)) return false;
    }
  }
  return reader.complete();
}

void SharedMemoryParameters::note(const ParameterEntry& entry) {
  if (entry.key == kRegion) {
    region_ = {true, entry.value};
  } else if (entry.key == kOffset) {
    offset_ = {true, entry.value};
  } else if (entry.key == kByteSize) {
    byte_size_ = {true, entry.value};
  }
}

base::Status SharedMemoryParameters::check(std::string_view tensor) const {
  if (region_.given && region_.value.kind != ParameterKind::kString) {
    return wrong_type(kRegion, tensor, "string_param");
  }
  base::Status status = check_number(kOffset, offset_, tensor);
  if (status.ok()) status = check_number(kByteSize, byte_size_, tensor);
  if (status.ok() && region_.given && !byte_size_.given) {
    return base::invalid_argument(
        "'shared_memory_byte_size' must be specified along with 'shared_memory_region' parameter "
        "for tensor '" +
        std::string(tensor) + "'");
  }
  return status;
}

base::Status SharedMemoryParameters::check_number(std::string_view key, const Member& member,
                                                  std::string_view tensor) const {
  if (!member.given) return {};
  if (!region_.given) {
    return base::invalid_argument(
        "'" + std::string(key) +
        "' can not be specified without 'shared_memory_region' parameter for tensor '" +
        std::string(tensor) + "'");
  }
  if (member.value.kind != ParameterKind::kInt) return wrong_type(key, tensor, "int64_param");
  return {};
}

}  // namespace pyserver::protocol::grpc
