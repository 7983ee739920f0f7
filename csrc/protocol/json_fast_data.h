// The elements of a JSON tensor by simdjson, straight into typed memory. False means "not sure", as everywhere in json_fast.cc.
#pragma once

#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/datatype.h"
#include "base/processor.h"
#include "protocol/json_decimal.h"
#include "protocol/json_request.h"

namespace pyserver::protocol {

namespace ondemand = simdjson::ondemand;
using simdjson::SUCCESS;

// A number, NaN or an infinity, from where it stands in the document.
inline bool read_real(ondemand::value value, double* number) {
  return read_number(value.raw_json_token().data(), number) != nullptr;
}

// One element as T; integers are cut to their width, as Triton does.
template <typename T>
bool read_element(ondemand::value value, T* element) {
  if constexpr (std::is_same_v<T, bool>) {
    return value.get_bool().get(*element) == SUCCESS;
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
PYSERVER_WITH_BMI2 bool read_numbers_with_bmi2(const char* at, size_t depth, uint8_t* memory,
                                               uint64_t count) {
  return read_numbers_of<T>(at, depth, memory, count);
}

template <typename T>
bool read_numbers(ondemand::array array, uint8_t* memory, uint64_t count) {
  if constexpr (std::is_floating_point_v<T>) {
    std::string_view text;
    if (array.raw_json().get(text) != SUCCESS) return false;
    constexpr size_t kDepth = kMaxNesting - kDataNesting + 1;
    return base::kHasBmi2 ? read_numbers_with_bmi2<T>(text.data(), kDepth, memory, count)
                          : read_numbers_of<T>(text.data(), kDepth, memory, count);
  } else {
    NumberSink<T> sink{memory, count};
    return read_data(array, kDataNesting, &sink) && sink.left == 0;
  }
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
