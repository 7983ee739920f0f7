// Reading RapidJSON values with Triton's words for what is not there or not of the wanted type.
#pragma once

#include <rapidjson/document.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace pyserver::protocol {

using JsonValue = rapidjson::Value;

inline std::string_view text_of(const JsonValue& value) {
  return {value.GetString(), value.GetStringLength()};
}

// Null when `value` is no object or has no such member.
inline const JsonValue* find_member(const JsonValue& value, const char* key) {
  if (!value.IsObject()) return nullptr;
  const auto found = value.FindMember(key);
  return found == value.MemberEnd() ? nullptr : &found->value;
}

inline base::Status no_member(const char* key) {
  return base::internal_error("attempt to access non-existing object member '" + std::string(key) +
                              "'");
}

inline base::Status as_string(const JsonValue& value, std::string_view* text) {
  if (!value.IsString()) return base::internal_error("attempt to access JSON non-string as string");
  *text = text_of(value);
  return {};
}

inline base::Status as_unsigned(const JsonValue& value, uint64_t* number) {
  if (!value.IsUint64()) {
    return base::internal_error("attempt to access JSON non-unsigned-integer as unsigned-integer");
  }
  *number = value.GetUint64();
  return {};
}

inline base::Status as_signed(const JsonValue& value, int64_t* number) {
  if (!value.IsInt64()) {
    return base::internal_error("attempt to access JSON non-signed-integer as signed-integer");
  }
  *number = value.GetInt64();
  return {};
}

inline base::Status as_bool(const JsonValue& value, bool* flag) {
  if (!value.IsBool()) return base::internal_error("attempt to access JSON non-boolean as boolean");
  *flag = value.GetBool();
  return {};
}

inline base::Status as_double(const JsonValue& value, double* number) {
  if (!value.IsNumber()) return base::internal_error("attempt to access JSON non-number as double");
  *number = value.GetDouble();
  return {};
}

inline base::Status member_string(const JsonValue& object, const char* key,
                                  std::string_view* text) {
  const JsonValue* member = find_member(object, key);
  return member == nullptr ? no_member(key) : as_string(*member, text);
}

inline base::Status member_array(const JsonValue& object, const char* key,
                                 const JsonValue** array) {
  const JsonValue* member = find_member(object, key);
  if (member == nullptr) return no_member(key);
  if (!member->IsArray()) return base::internal_error("attempt to access JSON non-array as array");
  *array = member;
  return {};
}

// `status` with "<what>: " before its message.
inline base::Status explain(const char* what, base::Status status) {
  if (status.ok()) return status;
  return base::Status(status.code(), std::string(what) + ": " + status.message());
}

}  // namespace pyserver::protocol
