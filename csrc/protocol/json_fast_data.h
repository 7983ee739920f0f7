// The elements of a JSON tensor by simdjson, straight into typed memory. False means "not sure", as everywhere in json_fast.cc.
#pragma once

#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/datatype.h"
#include "protocol/json_decimal.h"
#include "protocol/json_request.h"

namespace pyserver::protocol {

namespace ondemand = simdjson::ondemand;
using simdjson::SUCCESS;

inline std::string_view trimmed(std::string_view token) {
  while (!token.empty() && (token.back() == ' ' || token.back() == '\n' || token.back() == '\r' ||
                            token.back() == '\t')) {
    token.remove_suffix(1);
  }
  return token;
}

inline bool read_special(std::string_view token, double* number) {
  if (token == "NaN") {
    *number = std::numeric_limits<double>::quiet_NaN();
  } else if (token == "Infinity") {
    *number = std::numeric_limits<double>::infinity();
  } else if (token == "-Infinity") {
    *number = -std::numeric_limits<double>::infinity();
  } else {
    return false;
  }
  return true;
}

// A number that simdjson has found well formed. simdjson 3.0 reads those of more than 19 digits wrong when they begin with "0."
// (0.22222222222222222222 becomes 0.0377...), so the long ones are read by the standard library.
inline bool read_real(ondemand::value value, double* number) {
  constexpr size_t kSafeLength = 19;
  const std::string_view token = trimmed(value.raw_json_token());  // asked first: reading moves on
  if (read_plain_decimal(token, number)) return true;
  if (value.get_double().get(*number) != SUCCESS) return read_special(token, number);
  if (token.size() > kSafeLength) {
    const auto read = std::from_chars(token.data(), token.data() + token.size(), *number);
    if (read.ec != std::errc() || read.ptr != token.data() + token.size()) return false;
  }
  // RapidJSON refuses 0e400 as too big, and rounds the smallest numbers its own way: it shall judge.
  if (*number == 0 && token.find_first_of("eE") != std::string_view::npos) return false;
  // To Triton an integer is an integer, and there is no negative zero among those.
  if (*number == 0 && std::signbit(*number) && token == "-0") *number = 0;
  return true;
}

// One element as T; integers are cut to their width, as Triton does.
template <typename T>
bool read_element(ondemand::value value, T* element) {
  if constexpr (std::is_same_v<T, bool>) {
    return value.get_bool().get(*element) == SUCCESS;
  } else if constexpr (std::is_floating_point_v<T>) {
    double number = 0;
    if (!read_real(value, &number)) return false;
    *element = static_cast<T>(number);
    return true;
  } else if constexpr (std::is_signed_v<T>) {
    int64_t number = 0;
    if (value.get_int64().get(number) != SUCCESS) return false;
    *element = static_cast<T>(number);
    return true;
  } else {
    uint64_t number = 0;
    if (value.get_uint64().get(number) != SUCCESS) return false;
    *element = static_cast<T>(number);
    return true;
  }
}

// Fixed-size elements into memory of exactly `count` of them.
template <typename T>
struct NumberSink {
  uint8_t* at;
  uint64_t left;

  bool put(ondemand::value value) {
    T element{};
    if (left == 0 || !read_element<T>(value, &element)) return false;
    std::memcpy(at, &element, sizeof element);
    at += sizeof element;
    --left;
    return true;
  }
};

struct StringSink {
  std::string* bytes;

  bool put(ondemand::value value) {
    std::string_view text;
    if (value.get_string().get(text) != SUCCESS) return false;
    const auto length = static_cast<uint32_t>(text.size());
    bytes->append(reinterpret_cast<const char*>(&length), sizeof length);
    bytes->append(text);
    return true;
  }
};

// How deep 'data' stands: the document, 'inputs', the input, 'data' itself.
inline constexpr size_t kDataNesting = 4;

template <typename Sink>
bool read_data(ondemand::array array, size_t depth, Sink* sink) {
  if (depth > kMaxNesting) return false;
  for (auto item : array) {
    ondemand::value value;
    if (item.get(value) != SUCCESS) return false;
    // The first character alone tells an array; asking for the type would refuse NaN.
    if (*value.raw_json_token().data() == '[') {
      ondemand::array inner;
      if (value.get_array().get(inner) != SUCCESS || !read_data(inner, depth + 1, sink))
        return false;
    } else if (!sink->put(value)) {
      return false;
    }
  }
  return true;
}

template <typename T>
bool read_numbers(ondemand::array array, uint8_t* memory, uint64_t count) {
  NumberSink<T> sink{memory, count};
  return read_data(array, kDataNesting, &sink) && sink.left == 0;
}

inline bool read_typed(base::Datatype datatype, ondemand::array array, uint8_t* memory,
                       uint64_t count) {
  switch (datatype) {
    case base::Datatype::kBool:
      return read_numbers<bool>(array, memory, count);
    case base::Datatype::kUint8:
      return read_numbers<uint8_t>(array, memory, count);
    case base::Datatype::kUint16:
      return read_numbers<uint16_t>(array, memory, count);
    case base::Datatype::kUint32:
      return read_numbers<uint32_t>(array, memory, count);
    case base::Datatype::kUint64:
      return read_numbers<uint64_t>(array, memory, count);
    case base::Datatype::kInt8:
      return read_numbers<int8_t>(array, memory, count);
    case base::Datatype::kInt16:
      return read_numbers<int16_t>(array, memory, count);
    case base::Datatype::kInt32:
      return read_numbers<int32_t>(array, memory, count);
    case base::Datatype::kInt64:
      return read_numbers<int64_t>(array, memory, count);
    case base::Datatype::kFp32:
      return read_numbers<float>(array, memory, count);
    case base::Datatype::kFp64:
      return read_numbers<double>(array, memory, count);
    default:
      return false;
  }
}

}  // namespace pyserver::protocol
