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

}  // namespace

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
