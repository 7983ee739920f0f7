// Walking nested arrays of numbers, booleans and strings; the document's nesting is bounded, so the recursion is.
#include "protocol/json_data.h"

#include <cstring>
#include <string>
#include <type_traits>

#include "protocol/json_request.h"

namespace pyserver::protocol {

namespace {

template <typename T>
base::Status as_element(const JsonValue& value, T* element) {
  base::Status status;
  if constexpr (std::is_same_v<T, bool>) {
    status = as_bool(value, element);
  } else if constexpr (std::is_floating_point_v<T>) {
    double number = 0;
    status = as_double(value, &number);
    *element = static_cast<T>(number);
  } else if constexpr (std::is_signed_v<T>) {
    int64_t number = 0;
    status = as_signed(value, &number);
    *element = static_cast<T>(number);  // cut to its width, as Triton does
  } else {
    uint64_t number = 0;
    status = as_unsigned(value, &number);
    *element = static_cast<T>(number);
  }
  return status;
}

template <typename T>
base::Status read_numbers(const JsonValue& data, int64_t* left, std::vector<uint8_t>* bytes) {
  if (!data.IsArray()) {
    if (*left == 0) return base::internal_error("Shape does not match true shape of 'data' field");
    T element{};
    base::Status status = as_element(data, &element);
    if (!status.ok()) return status;
    const auto* begin = reinterpret_cast<const uint8_t*>(&element);
    bytes->insert(bytes->end(), begin, begin + sizeof element);
    --*left;
    return {};
  }
  for (const JsonValue& item : data.GetArray()) {
    base::Status status = read_numbers<T>(item, left, bytes);
    if (!status.ok()) return status;
  }
  return {};
}

base::Status size_strings(const JsonValue& data, uint64_t* bytes) {
  if (!data.IsArray()) {
    std::string_view text;
    base::Status status = as_string(data, &text);
    if (!status.ok()) return explain("Unable to parse JSON bytes array", status);
    *bytes += sizeof(uint32_t) + text.size();
    return {};
  }
  for (const JsonValue& item : data.GetArray()) {
    base::Status status = size_strings(item, bytes);
    if (!status.ok()) return status;
  }
  return {};
}

// After size_strings(), so everything in it is a string or an array.
void read_strings(const JsonValue& data, std::vector<uint8_t>* bytes) {
  if (data.IsArray()) {
    for (const JsonValue& item : data.GetArray()) read_strings(item, bytes);
    return;
  }
  const uint32_t length = data.GetStringLength();
  const auto* prefix = reinterpret_cast<const uint8_t*>(&length);
  bytes->insert(bytes->end(), prefix, prefix + sizeof length);
  const auto* text = reinterpret_cast<const uint8_t*>(data.GetString());
  bytes->insert(bytes->end(), text, text + length);
}

template <typename T>
base::Status read_exactly(const JsonValue& data, int64_t elements, std::vector<uint8_t>* bytes) {
  int64_t left = elements;
  base::Status status = read_numbers<T>(data, &left, bytes);
  if (!status.ok()) return explain("Unable to parse 'data'", status);
  if (left == 0) return {};
  return base::internal_error("Failed to parse 'data' field: shape does not match true shape");
}

}  // namespace

base::Status json_strings_byte_size(const JsonValue& data, uint64_t* bytes) {
  *bytes = 0;
  return size_strings(data, bytes);
}

base::Status read_json_data(std::string_view input, base::Datatype datatype, const JsonValue& data,
                            int64_t elements, std::vector<uint8_t>* bytes) {
  switch (datatype) {
    case base::Datatype::kBool:
      return read_exactly<bool>(data, elements, bytes);
    case base::Datatype::kUint8:
      return read_exactly<uint8_t>(data, elements, bytes);
    case base::Datatype::kUint16:
      return read_exactly<uint16_t>(data, elements, bytes);
    case base::Datatype::kUint32:
      return read_exactly<uint32_t>(data, elements, bytes);
    case base::Datatype::kUint64:
      return read_exactly<uint64_t>(data, elements, bytes);
    case base::Datatype::kInt8:
      return read_exactly<int8_t>(data, elements, bytes);
    case base::Datatype::kInt16:
      return read_exactly<int16_t>(data, elements, bytes);
    case base::Datatype::kInt32:
      return read_exactly<int32_t>(data, elements, bytes);
    case base::Datatype::kInt64:
      return read_exactly<int64_t>(data, elements, bytes);
    case base::Datatype::kFp32:
      return read_exactly<float>(data, elements, bytes);
    case base::Datatype::kFp64:
      return read_exactly<double>(data, elements, bytes);
    case base::Datatype::kBytes:
      read_strings(data, bytes);
      return {};
    case base::Datatype::kFp16:
    case base::Datatype::kBf16:
      return base::invalid_argument(
          "receiving " + std::string(base::wire_name(datatype)) +
          " data via JSON is not supported. Please use the binary data format for input " +
          std::string(input));
    case base::Datatype::kInvalid:
      break;
  }
  return base::invalid_argument("invalid datatype for input " + std::string(input));
}

}  // namespace pyserver::protocol
