// Finding out what a raw body means from the model's only input.
#include "protocol/raw_request.h"

#include <cstring>
#include <string>
#include <vector>

namespace pyserver::protocol {

namespace {

// The config's dims with the batch dimension 1 and, for fixed-size datatypes, the one variable dimension filled in.
base::Status deduce_shape(const model::ModelSpec& model, uint64_t byte_size,
                          std::vector<int64_t>* shape) {
  const model::TensorSpec& input = model.inputs[0];
  if (model.max_batch_size > 0) shape->push_back(1);
  size_t variable = SIZE_MAX;
  uint64_t elements = 1;
  for (const int64_t dim : input.dims) {
    if (dim == -1) {
      if (variable != SIZE_MAX) {
        return base::invalid_argument(
            model::request_prefix({}) + "The shape of the raw input '" + input.name +
            "' can not be deduced because there are more than one variable-sized dimension");
      }
      variable = shape->size();
    } else if (__builtin_mul_overflow(elements, static_cast<uint64_t>(dim), &elements)) {
      return model::element_count_overflow(input.name, input.dims);
    }
    shape->push_back(dim);
  }
  if (input.datatype == base::Datatype::kBytes) {
    if (variable == SIZE_MAX && elements == 1) return {};
    return base::invalid_argument(model::request_prefix({}) + "For BYTE datatype raw input '" +
                                  input.name + "', the model must have input shape [1]");
  }
  if (variable == SIZE_MAX) return {};
  const uint64_t row_bytes = elements * base::element_byte_size(input.datatype);
  (*shape)[variable] = row_bytes == 0 ? 0 : static_cast<int64_t>(byte_size / row_bytes);
  return {};
}

}  // namespace

base::Status read_raw_request(const model::ModelSpec& model, const BodyView& body,
                              TensorMemory* memory, model::RequestDraft* draft) {
  if (body.max_input_bytes != 0 && body.byte_size > body.max_input_bytes) {
    return base::invalid_argument("Raw input has a byte_size (" + std::to_string(body.byte_size) +
                                  " bytes) that exceeds the maximum allowed value of " +
                                  std::to_string(body.max_input_bytes) +
                                  " bytes. Use --http-max-input-size to increase the limit.");
  }
  if (model.inputs.size() != 1) {
    return base::invalid_argument(
        model::request_prefix({}) +
        "Raw request must only have 1 input (found 1) to be deduced but got " +
        std::to_string(model.inputs.size()) + " inputs in '" + model.name +
        "' model configuration");
  }
  const model::TensorSpec& spec = model.inputs[0];
  std::vector<int64_t> shape;
  base::Status status = deduce_shape(model, body.byte_size, &shape);
  if (!status.ok()) return status;
  draft->add_raw_input(shape);
  shm::Location& location = draft->inputs.back().location;
  location = {shm::Place::kRegion, memory->memory().peer, body.offset, body.byte_size};
  if (spec.datatype != base::Datatype::kBytes) return {};
  const auto length = static_cast<uint32_t>(body.byte_size);
  if (length != body.byte_size) return model::byte_size_overflow(spec.name, 1, spec.datatype);
  uint8_t* element = memory->take(sizeof length + body.byte_size, &location);
  if (element == nullptr) {
    return base::unavailable("the memory for requests is full: no room for the raw input '" +
                             spec.name + "'; try again later");
  }
  std::memcpy(element, &length, sizeof length);
  std::memcpy(element + sizeof length, memory->memory().mapping->data() + body.offset,
              body.byte_size);
  return {};
}

}  // namespace pyserver::protocol
