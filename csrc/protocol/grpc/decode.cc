// The way of a ModelInferRequest: its outermost fields, then parameters, inputs, outputs and data in Triton's order, the checks, the
// table.
#include <algorithm>
#include <bit>
#include <string>
#include <utility>
#include <vector>

#include "model/checks.h"
#include "protocol/grpc/infer.h"
#include "protocol/grpc/outline.h"
#include "protocol/grpc/parameters.h"
#include "protocol/grpc/tensors.h"
#include "protocol/tensor_memory.h"
#include "shm/layout.h"

namespace pyserver::protocol::grpc {

namespace {

base::Status wrong_kind(std::string_view key, std::string_view wanted) {
  return base::invalid_argument("invalid value type for '" + std::string(key) +
                                "' parameter, expected " + std::string(wanted) + ".");
}

// Kept from request to request for its memory.
struct Workspace {
  Outline outline;
  std::vector<InputTensor> inputs;
  std::vector<int64_t> shape;
  model::RequestDraft draft;
};

class Pass {
 public:
  Pass(const model::ModelSpec& model, const MessageView& message, const OwnMemory& memory,
       Workspace* workspace, DecodedRequest* request)
      : model_(model),
        base_(memory.mapping->data()),
        bytes_{base_ + message.offset, message.byte_size},
        memory_(memory, &request->blocks),
        outline_(workspace->outline),
        inputs_(workspace->inputs),
        shape_(workspace->shape),
        draft_(workspace->draft),
        request_(*request) {}

  base::Status run();

 private:
  base::Status parameter(const ParameterEntry& entry);
  base::Status sequence_id(const ParameterValue& value);
  base::Status sequence_flag(const ParameterEntry& entry, uint8_t flag);
  base::Status priority(const ParameterValue& value);
  base::Status timeout(const ParameterValue& value);
  base::Status reserved(const ParameterEntry& entry);
  base::Status custom(const ParameterEntry& entry);
  base::Status describe_inputs();
  base::Status describe_outputs();
  base::Status data();
  base::Status data_of(const InputTensor& input, size_t* next_raw, shm::Location* location);
  base::Status wishes();
  base::Status wish(const OutputTensor& output);
  std::string for_input(const InputTensor& input) const {
    return "'" + std::string(input.name) + "' for model '" + model_.name + "'";
  }

  const model::ModelSpec& model_;
  const uint8_t* base_;
  std::span<const uint8_t> bytes_;
  TensorMemory memory_;
  Outline& outline_;
  std::vector<InputTensor>& inputs_;
  std::vector<int64_t>& shape_;
  model::RequestDraft& draft_;
  DecodedRequest& request_;
};

base::Status Pass::run() {
  base::Status status = read_outline(model_, bytes_, &outline_);
  if (!status.ok()) return status;
  draft_.request_id = outline_.id;
  for (const ParameterEntry& entry : outline_.parameters) {
    status = parameter(entry);
    if (!status.ok()) return status;
  }
  status = describe_inputs();
  if (status.ok()) status = describe_outputs();
  if (status.ok()) status = data();
  if (status.ok()) status = wishes();
  if (status.ok()) status = model::check(&draft_);
  return status;
}

base::Status Pass::parameter(const ParameterEntry& entry) {
  const std::string_view key = entry.key;
  if (key == "sequence_id") return sequence_id(entry.value);
  if (key == "sequence_start") return sequence_flag(entry, shm::kSequenceStart);
  if (key == "sequence_end") return sequence_flag(entry, shm::kSequenceEnd);
  if (key == "priority") return priority(entry.value);
  if (key == "timeout") return timeout(entry.value);
  return key.starts_with("triton_") ? reserved(entry) : custom(entry);
}

base::Status Pass::sequence_id(const ParameterValue& value) {
  if (value.kind == ParameterKind::kString) return draft_.set_correlation_text(value.text);
  if (value.kind != ParameterKind::kInt)
    return wrong_kind("sequence_id", "int64_param or string_param");
  draft_.correlation_id = value.bits;
  return {};
}

base::Status Pass::sequence_flag(const ParameterEntry& entry, uint8_t flag) {
  if (entry.value.kind != ParameterKind::kBool) return wrong_kind(entry.key, "bool_param");
  if (entry.value.flag()) request_.flags |= flag;
  return {};
}

base::Status Pass::priority(const ParameterValue& value) {
  if (value.kind == ParameterKind::kInt && value.integer() < 0)
    return base::invalid_argument("invalid value for 'priority', expected value >= 0.");
  if (value.kind != ParameterKind::kInt && value.kind != ParameterKind::kUint)
    return wrong_kind("priority", "int64_param or uint64_param");
  request_.priority = value.bits;
  return {};
}

base::Status Pass::timeout(const ParameterValue& value) {
  if (value.kind != ParameterKind::kInt) return wrong_kind("timeout", "int64_param");
  request_.timeout_us = value.bits;
  return {};
}

base::Status Pass::reserved(const ParameterEntry& entry) {
  constexpr std::string_view kAllowed = "triton_enable_empty_final_response";
  if (entry.key != kAllowed) {
    return base::invalid_argument(
        "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following "
        "keys starting with 'triton_' are allowed: " +
        std::string(kAllowed));
  }
  if (entry.value.kind != ParameterKind::kBool) return wrong_kind(entry.key, "bool_param");
  request_.empty_final_response = entry.value.flag();
  return {};
}

base::Status Pass::custom(const ParameterEntry& entry) {
  shm::Parameter parameter{std::string(entry.key), false};
  switch (entry.value.kind) {
    case ParameterKind::kBool:
      parameter.value = entry.value.flag();
      break;
    case ParameterKind::kInt:
      parameter.value = entry.value.integer();
      break;
    case ParameterKind::kString:
      parameter.value = std::string(entry.value.text);
      break;
    case ParameterKind::kDouble:
      parameter.value = std::bit_cast<double>(entry.value.bits);
      break;
    case ParameterKind::kUnset:
    case ParameterKind::kUint:
      return wrong_kind(entry.key, "int64_param, bool_param, or string_param");
  }
  request_.table.add_parameter(parameter);
  return {};
}

base::Status Pass::describe_inputs() {
  inputs_.resize(outline_.inputs.size());
  for (size_t index = 0; index < inputs_.size(); ++index) {
    InputTensor& input = inputs_[index];
    if (!read_input(outline_.inputs[index], &input, &shape_)) return malformed_request();
    if (input.rank > shm::kMaxRank) {
      return base::invalid_argument("the shape of input " + for_input(input) + " has " +
                                    std::to_string(input.rank) + " dimensions; at most " +
                                    std::to_string(shm::kMaxRank) + " are supported");
    }
    base::Status status = draft_.add_input(input.name, input.datatype, shape_);
    if (!status.ok()) return status;
  }
  return {};
}

base::Status Pass::describe_outputs() {
  for (const std::string_view message : outline_.outputs) {
    OutputTensor output;
    if (!read_output(message, &output)) return malformed_request();
    base::Status status = draft_.add_output(output.name);
    if (!status.ok()) return status;
  }
  return {};
}

base::Status Pass::data() {
  size_t next_raw = 0;
  for (size_t index = 0; index < inputs_.size(); ++index) {
    model::InputDraft& draft = draft_.inputs[index];
    base::Status status = data_of(inputs_[index], &next_raw, &draft.location);
    if (!status.ok()) return status;
    draft.bytes = {base_ + draft.location.offset, draft.location.byte_size};
    draft.readable = true;
  }
  return {};
}

base::Status Pass::data_of(const InputTensor& input, size_t* next_raw, shm::Location* location) {
  base::Status status = input.shared_memory.check(input.name);
  if (!status.ok()) return status;
  if (input.shared_memory.used()) {
    if (input.has_contents) {
      return base::invalid_argument(
          "unexpected 'content' provided when using shared memory for input tensor " +
          for_input(input));
    }
    return no_region(input.shared_memory.region());
  }
  if (input.has_contents) {
    if (outline_.raw_count == 0) return build_contents(model_, input, &memory_, location);
    return base::invalid_argument(
        "contents field must not be specified when using raw_input_contents for " +
        for_input(input));
  }
  if (*next_raw == outline_.raw.size()) {
    return base::invalid_argument("unable to find data for input tensor " + for_input(input) +
                                  " in request.");
  }
  const std::string_view raw = outline_.raw[(*next_raw)++];
  const auto offset = static_cast<uint64_t>(reinterpret_cast<const uint8_t*>(raw.data()) - base_);
  *location = {shm::Place::kRegion, memory_.memory().peer, offset, raw.size()};
  return {};
}

base::Status Pass::wishes() {
  for (const std::string_view message : outline_.outputs) {
    OutputTensor output;
    if (!read_output(message, &output)) return malformed_request();
    base::Status status = wish(output);
    if (!status.ok()) return status;
  }
  return {};
}

base::Status Pass::wish(const OutputTensor& output) {
  base::Status status = output.shared_memory.check(output.name);
  if (!status.ok()) return status;
  const ParameterValue& classes = output.classification;
  if (output.has_classification && classes.kind != ParameterKind::kInt) {
    return base::invalid_argument(
        "invalid value type for 'classification' parameter, expected int64_param");
  }
  if (output.has_classification && classes.integer() <= 0) {
    return base::invalid_argument("invalid value for 'classification' parameter, expected >= 0");
  }
  if (output.shared_memory.used()) {
    if (output.has_classification) {
      return base::invalid_argument(
          "output can't set both 'shared_memory_region' and 'classification'");
    }
    return no_region(output.shared_memory.region());
  }
  OutputWish wish;
  wish.name = output.name;
  wish.binary = true;
  wish.classification = static_cast<uint32_t>(std::min<uint64_t>(classes.bits, UINT32_MAX));
  request_.wishes.push_back(std::move(wish));
  return {};
}

}  // namespace

void DecodedRequest::clear() {
  protocol::DecodedRequest::clear();
  empty_final_response = false;
}

struct InferDecoder::Parts {
  Workspace workspace;
};

InferDecoder::InferDecoder() : parts_(std::make_unique<Parts>()) {}
InferDecoder::~InferDecoder() = default;

base::Status InferDecoder::decode(const model::ModelSpec& model, const MessageView& message,
                                  const OwnMemory& memory, DecodedRequest* request) {
  model::RequestDraft& draft = parts_->workspace.draft;
  draft.begin(model);
  request->binary_default = true;
  base::Status status = Pass(model, message, memory, &parts_->workspace, request).run();
  if (status.ok()) fill_table(draft, request);
  return status;
}

}  // namespace pyserver::protocol::grpc
