// Reading the descriptions of inputs and outputs; their parameters only as far as they mean something.
#include "protocol/grpc/tensors.h"

#include "protocol/grpc/message_reader.h"

namespace pyserver::protocol::grpc {

namespace {

void add_dim(uint64_t bits, InputTensor* input, std::vector<int64_t>* shape) {
  if (++input->rank <= shm::kMaxRank) shape->push_back(static_cast<int64_t>(bits));
}

bool read_packed_shape(std::string_view packed, InputTensor* input, std::vector<int64_t>* shape) {
  const char* at = packed.data();
  const char* const end = at + packed.size();
  while (at != end) {
    uint64_t dim = 0;
    if (!read_varint(&at, end, &dim)) return false;
    add_dim(dim, input, shape);
  }
  return true;
}

}  // namespace

bool read_input(std::string_view message, InputTensor* input, std::vector<int64_t>* shape) {
  constexpr uint32_t kName = 1, kDatatype = 2, kShape = 3, kParameters = 4, kContents = 5;
  *input = {};
  input->message = message;
  shape->clear();
  std::string_view datatype;
  MessageReader reader(message);
  while (reader.next()) {
    if (reader.is(kShape, WireType::varint)) add_dim(reader.bits(), input, shape);
    if (reader.type() != WireType::length_delimited) continue;
    const std::string_view bytes = reader.bytes();
    bool good = true;
    switch (reader.field()) {
      case kName:
        input->name = bytes;
        good = is_utf8(bytes);
        break;
      case kDatatype:
        datatype = bytes;
        good = is_utf8(bytes);
        break;
      case kShape:
        good = read_packed_shape(bytes, input, shape);
        break;
      case kParameters: {
        ParameterEntry entry;
        good = read_parameter_entry(bytes, &entry);
        if (good) input->shared_memory.note(entry);
        break;
      }
      case kContents:
        input->has_contents = true;
        break;
      default:
        break;
    }
    if (!good) return false;
  }
  input->datatype = base::datatype_from_wire(datatype).value_or(base::Datatype::kInvalid);
  return reader.complete();
}

bool read_output(std::string_view message, OutputTensor* output) {
  constexpr uint32_t kName = 1, kParameters = 2;
  *output = {};
  MessageReader reader(message);
  while (reader.next()) {
    if (reader.is(kName, WireType::length_delimited)) {
      output->name = reader.bytes();
      if (!is_utf8(output->name)) return false;
    } else if (reader.is(kParameters, WireType::length_delimited)) {
      ParameterEntry entry;
      if (!read_parameter_entry(reader.bytes(), &entry)) return false;
      output->shared_memory.note(entry);
      if (entry.key == "classification") {
        output->has_classification = true;
        output->classification = entry.value;
      }
    }
  }
  return reader.complete();
}

base::Status malformed_request() { return base::internal_error("Unable to parse request"); }

}  // namespace pyserver::protocol::grpc
