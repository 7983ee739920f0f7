// The way of a body: its parts, its JSON by one of two readers, the checks, the table.
#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <utility>

#include "model/checks.h"
#include "protocol/http_infer.h"
#include "protocol/json_request.h"
#include "protocol/raw_request.h"
#include "protocol/tensor_memory.h"

namespace pyserver::protocol {

namespace {

// What the header says, or all of the body where it is absent.
base::Status json_size(const BodyView& body, uint64_t* size) {
  *size = body.byte_size;
  if (!body.header_length) return {};
  std::string_view digits = *body.header_length;
  while (!digits.empty() && (digits.front() == ' ' || digits.front() == '\t'))
    digits.remove_prefix(1);
  if (digits.size() > 1 && digits[0] == '+' && digits[1] != '-') digits.remove_prefix(1);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc::invalid_argument) {
    return base::invalid_argument("Unable to parse Inference-Header-Content-Length, got: " +
                                  std::string(*body.header_length));
  }
  if (error != std::errc() || value < 0 || static_cast<uint64_t>(value) > body.byte_size) {
    return base::invalid_argument("inference header size should be in range (0, " +
                                  std::to_string(body.byte_size) +
                                  "), got: " + std::string(*body.header_length));
  }
  *size = static_cast<uint64_t>(value);
  return {};
}

void fill_table(const model::RequestDraft& draft, DecodedRequest* request) {
  shm::RequestBuilder& table = request->table;
  table.header.model = draft.model().handle;
  table.header.flags = request->flags;
  table.header.correlation_id = draft.correlation_id;
  table.header.priority = request->priority;
  table.header.timeout_us = request->timeout_us;
  table.header.batch_size = draft.batch_size;
  table.set_request_id(draft.request_id);
  table.set_correlation_text(draft.correlation_text);
  for (const model::InputDraft& input : draft.inputs) {
    const model::TensorSpec& spec = draft.model().inputs[static_cast<size_t>(input.index)];
    table.add_input(spec.name, static_cast<uint16_t>(input.index), input.datatype,
                    draft.dims(input.backend_shape), input.location);
  }
  for (const model::OutputDraft& output : draft.outputs) {
    table.add_output(output.name, static_cast<uint16_t>(output.index));
  }
  request->request_id = draft.request_id;
  request->batch_size = draft.batch_size;
  request->signature = draft.signature;
  request->payload_bytes = draft.payload_bytes;
}

}  // namespace

void DecodedRequest::clear() {
  blocks.clear();
  clear_content();
}

void DecodedRequest::clear_content() {
  table.clear();
  wishes.clear();
  binary_default = false;
  request_id.clear();
  batch_size = 1;
  flags = 0;
  signature = 0;
  timeout_us = 0;
  priority = 0;
  payload_bytes = 0;
}

struct InferDecoder::Parts {
  FastJsonReader fast;
  ExactJsonReader exact;
  model::RequestDraft draft;
};

InferDecoder::InferDecoder() : parts_(std::make_unique<Parts>()) {}
InferDecoder::~InferDecoder() = default;

base::Status InferDecoder::decode(const model::ModelSpec& model, const BodyView& body,
                                  const OwnMemory& memory, DecodedRequest* request) {
  uint64_t size = 0;
  base::Status status = json_size(body, &size);
  if (!status.ok()) return status;
  model::RequestDraft& draft = parts_->draft;
  draft.begin(model);
  if (size == 0) {
    TensorMemory tensors(memory, &request->blocks);
    request->binary_default = true;
    status = read_raw_request(model, body, &tensors, &draft);
  } else {
    status = read_json(model, body, size, memory, request);
  }
  if (status.ok()) {
    for (model::InputDraft& input : draft.inputs) {
      input.bytes = {memory.mapping->data() + input.location.offset, input.location.byte_size};
      input.readable = true;
    }
    status = model::check(&draft);
  }
  if (status.ok()) fill_table(draft, request);
  parts_->exact.clear();
  return status;
}

base::Status InferDecoder::read_json(const model::ModelSpec& model, const BodyView& body,
                                     uint64_t size, const OwnMemory& memory,
                                     DecodedRequest* request) {
  if (body.max_input_bytes != 0 && size > body.max_input_bytes) {
    return base::invalid_argument("request JSON size of " + std::to_string(size) +
                                  " bytes exceeds the maximum allowed input size of " +
                                  std::to_string(body.max_input_bytes) +
                                  " bytes. Use --http-max-input-size to increase the limit.");
  }
  const JsonSource source{reinterpret_cast<const char*>(memory.mapping->data()) + body.offset, size,
                          std::max(body.capacity, body.byte_size)};
  const BinarySection binary(memory, body.offset + size, body.byte_size - size);
  JsonTarget target{model,          body.max_input_bytes,
                    binary,         TensorMemory(memory, &request->blocks),
                    &parts_->draft, request};
  if (!exact_only_ && parts_->fast.read(source, &target)) return {};
  target.memory.give_back();
  target.binary = binary;
  parts_->draft.begin(model);
  request->clear_content();
  return parts_->exact.read(source, &target);
}

}  // namespace pyserver::protocol
