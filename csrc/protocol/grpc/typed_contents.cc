// InferTensorContents: elements one by one in a field per kind, packed or not, to the tensor that they mean.
//
// Two passes over the message: the first counts and validates, the second writes into a block of the right size. Both are linear, and
// nothing is taken on account of what a message merely claims.
#include <array>
#include <cstring>
#include <string>
#include <type_traits>

#include "protocol/grpc/message_reader.h"
#include "protocol/grpc/tensors.h"

namespace pyserver::protocol::grpc {

namespace {

using base::Datatype;

constexpr uint32_t kContents = 5;            // of InferInputTensor
constexpr uint32_t kFp32 = 6, kStrings = 8;  // of InferTensorContents

struct Field {
  WireType element;    // of one that is not packed
  Datatype narrowest;  // the datatypes that the field serves: up to three in a row
  Datatype widest;     // the one that refusals name
};

// By field number.
constexpr std::array<Field, 9> kFields = {{
    {WireType::unknown, Datatype::kInvalid, Datatype::kInvalid},
    {WireType::varint, Datatype::kBool, Datatype::kBool},
    {WireType::varint, Datatype::kInt8, Datatype::kInt32},
    {WireType::varint, Datatype::kInt64, Datatype::kInt64},
    {WireType::varint, Datatype::kUint8, Datatype::kUint32},
    {WireType::varint, Datatype::kUint64, Datatype::kUint64},
    {WireType::fixed32, Datatype::kFp32, Datatype::kFp32},
    {WireType::fixed64, Datatype::kFp64, Datatype::kFp64},
    {WireType::length_delimited, Datatype::kBytes, Datatype::kBytes},
}};

struct Count {
  std::array<uint64_t, kFields.size()> elements = {};
  uint64_t string_bytes = 0;  // of all strings, with their prefixes
};

// Calls `visit(reader)` for each field that an input's contents consist of. False when they are malformed.
template <typename Visit>
bool for_each_field(const InputTensor& input, Visit visit) {
  MessageReader tensor(input.message);
  while (tensor.next()) {
    if (!tensor.is(kContents, WireType::length_delimited)) continue;
    MessageReader contents(tensor.bytes());
    while (contents.next()) {
      const uint32_t field = contents.field();
      if (field == 0 || field >= kFields.size()) continue;
      const bool packed = contents.type() == WireType::length_delimited;
      if ((packed || contents.type() == kFields[field].element) && !visit(contents)) return false;
    }
    if (!contents.complete()) return false;
  }
  return tensor.complete();
}

// Each varint ends with the one byte of it that is below 128.
bool count_varints(std::string_view packed, uint64_t* count) {
  for (const char byte : packed) *count += static_cast<uint8_t>(byte) < 0x80 ? 1 : 0;
  return packed.empty() || static_cast<uint8_t>(packed.back()) < 0x80;
}

bool count_elements(const MessageReader& reader, Count* count) {
  const uint32_t field = reader.field();
  uint64_t& elements = count->elements[field];
  if (field == kStrings) {
    ++elements;
    count->string_bytes += sizeof(uint32_t) + reader.bytes().size();
    return true;
  }
  if (reader.type() != WireType::length_delimited) {
    ++elements;
    return true;
  }
  if (field < kFp32) return count_varints(reader.bytes(), &elements);
  const size_t width = field == kFp32 ? sizeof(float) : sizeof(double);
  elements += reader.bytes().size() / width;
  return reader.bytes().size() % width == 0;
}

// Varints into elements of T, cut to its width as Triton does.
template <typename T>
bool fill_varints(const InputTensor& input, uint32_t field, uint8_t* memory) {
  const auto put = [&memory](uint64_t bits) {
    T element{};
    if constexpr (std::is_same_v<T, bool>) {
      element = bits != 0;
    } else {
      element = static_cast<T>(bits);
    }
    std::memcpy(memory, &element, sizeof element);
    memory += sizeof element;
  };
  return for_each_field(input, [&](const MessageReader& reader) {
    if (reader.field() != field) return true;
    if (reader.type() == WireType::varint) {
      put(reader.bits());
      return true;
    }
    const char* at = reader.bytes().data();
    const char* const end = at + reader.bytes().size();
    while (at != end) {
      uint64_t bits = 0;
      if (!read_varint(&at, end, &bits)) return false;
      put(bits);
    }
    return true;
  });
}

bool fill_fixed(const InputTensor& input, uint32_t field, uint8_t* memory) {
  uint8_t* at = memory;
  const size_t width = field == kFp32 ? sizeof(float) : sizeof(double);
  return for_each_field(input, [&](const MessageReader& reader) {
    if (reader.field() != field) return true;
    if (reader.type() == WireType::length_delimited) {
      std::memcpy(at, reader.bytes().data(), reader.bytes().size());
      at += reader.bytes().size();
    } else {
      const uint64_t bits = reader.bits();
      std::memcpy(at, &bits, width);
      at += width;
    }
    return true;
  });
}

bool fill_strings(const InputTensor& input, uint8_t* memory) {
  uint8_t* at = memory;
  return for_each_field(input, [&](const MessageReader& reader) {
    if (reader.field() != kStrings) return true;
    const auto length = static_cast<uint32_t>(reader.bytes().size());
    std::memcpy(at, &length, sizeof length);
    std::memcpy(at + sizeof length, reader.bytes().data(), length);
    at += sizeof length + length;
    return true;
  });
}

bool fill(const InputTensor& input, uint32_t field, uint8_t* memory) {
  switch (input.datatype) {
    case Datatype::kBool:
      return fill_varints<bool>(input, field, memory);
    case Datatype::kUint8:
    case Datatype::kInt8:
      return fill_varints<uint8_t>(input, field, memory);
    case Datatype::kUint16:
    case Datatype::kInt16:
      return fill_varints<uint16_t>(input, field, memory);
    case Datatype::kUint32:
    case Datatype::kInt32:
      return fill_varints<uint32_t>(input, field, memory);
    case Datatype::kUint64:
    case Datatype::kInt64:
      return fill_varints<uint64_t>(input, field, memory);
    case Datatype::kFp32:
    case Datatype::kFp64:
      return fill_fixed(input, field, memory);
    case Datatype::kBytes:
      return fill_strings(input, memory);
    default:
      return false;  // no field serves it: choose_field() has refused it
  }
}

// The one field that has elements; 0 when none has.
base::Status choose_field(const model::ModelSpec& model, const InputTensor& input,
                          const Count& count, uint32_t* chosen) {
  const auto refusal = [&] {
    return "unexpected explicit tensor data for input tensor '" + std::string(input.name) +
           "' for model '" + model.name + "'";
  };
  for (uint32_t field = 1; field < kFields.size(); ++field) {
    if (count.elements[field] == 0) continue;
    if (*chosen != 0) {
      return base::invalid_argument(refusal() + ", binary data was already supplied.");
    }
    const Field& row = kFields[field];
    if (input.datatype < row.narrowest || input.datatype > row.widest) {
      return base::invalid_argument(
          refusal() + " of type '" + std::string(base::wire_name(row.widest)) +
          "', expected datatype '" + std::string(base::wire_name(input.datatype)) + "'");
    }
    *chosen = field;
  }
  return {};
}

}  // namespace

bool good_contents(const InputTensor& input) {
  const auto good = [](const MessageReader& reader) {
    if (reader.field() == kStrings || reader.type() != WireType::length_delimited) return true;
    if (reader.field() >= kFp32) {
      const size_t width = reader.field() == kFp32 ? sizeof(float) : sizeof(double);
      return reader.bytes().size() % width == 0;
    }
    const char* at = reader.bytes().data();
    const char* const end = at + reader.bytes().size();
    uint64_t bits = 0;
    while (at != end) {
      if (!read_varint(&at, end, &bits)) return false;
    }
    return true;
  };
  return !input.has_contents || for_each_field(input, good);
}

base::Status build_contents(const model::ModelSpec& model, const InputTensor& input,
                            TensorMemory* memory, shm::Location* location) {
  *location = {shm::Place::kRegion, memory->memory().peer, 0, 0};
  Count count;
  if (!for_each_field(
          input, [&](const MessageReader& reader) { return count_elements(reader, &count); })) {
    return malformed_request();
  }
  uint32_t field = 0;
  base::Status status = choose_field(model, input, count, &field);
  if (!status.ok() || field == 0) return status;
  const uint64_t bytes = field == kStrings
                             ? count.string_bytes
                             : count.elements[field] * base::element_byte_size(input.datatype);
  uint8_t* const block = memory->take(bytes, location);
  if (block == nullptr) return out_of_tensor_memory(input.name, bytes);
  return fill(input, field, block) ? base::Status() : malformed_request();
}

}  // namespace pyserver::protocol::grpc
