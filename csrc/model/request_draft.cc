// Collecting a request: names are looked up and must be new.
#include "model/checks.h"

namespace pyserver::model {

namespace {

std::string already_there(const char* what, std::string_view name, std::string_view request_id) {
  return request_prefix(request_id) + what + " '" + std::string(name) +
         "' already exists in request";
}

}  // namespace

void RequestDraft::begin(const ModelSpec& model) {
  model_ = &model;
  request_id = {};
  correlation_text = {};
  correlation_id = 0;
  inputs.clear();
  outputs.clear();
  batch_size = 1;
  signature = 0;
  payload_bytes = 0;
  dims_.clear();
  seen_inputs_.assign(model.inputs.size(), false);
  seen_outputs_.assign(model.outputs.size(), false);
  if (!strange_inputs_.empty()) strange_inputs_.clear();
  if (!strange_outputs_.empty()) strange_outputs_.clear();
}

base::Status RequestDraft::add_input(std::string_view name, base::Datatype datatype,
                                     std::span<const int64_t> shape) {
  // Far too many inputs are refused in any case; they are not worth looking up.
  const bool hopeless = inputs.size() > 2 * model_->inputs.size() + 64;
  const int index = hopeless ? -1 : model_->input_index(name, inputs.size());
  const bool first =
      index < 0 ? strange_inputs_.insert(name).second : !seen_inputs_[static_cast<size_t>(index)];
  if (!first) {
    return base::invalid_argument(already_there("input", name, request_id));
  }
  if (index >= 0) seen_inputs_[static_cast<size_t>(index)] = true;
  InputDraft input;
  input.name = name;
  input.datatype = datatype;
  input.index = index;
  input.shape = {static_cast<uint32_t>(dims_.size()), static_cast<uint32_t>(shape.size())};
  dims_.insert(dims_.end(), shape.begin(), shape.end());
  inputs.push_back(input);
  return {};
}

void RequestDraft::add_raw_input(std::span<const int64_t> shape) {
  InputDraft input;
  input.name = "raw_input";
  input.datatype = model_->inputs[0].datatype;
  input.index = 0;
  input.shape = {static_cast<uint32_t>(dims_.size()), static_cast<uint32_t>(shape.size())};
  dims_.insert(dims_.end(), shape.begin(), shape.end());
  seen_inputs_[0] = true;
  inputs.push_back(input);
}

base::Status RequestDraft::add_output(std::string_view name) {
  const bool hopeless = outputs.size() > 2 * model_->outputs.size() + 64;
  const int index = hopeless ? -1 : model_->output_index(name, outputs.size());
  const bool first =
      index < 0 ? strange_outputs_.insert(name).second : !seen_outputs_[static_cast<size_t>(index)];
  if (!first) {
    return base::invalid_argument(already_there("output", name, request_id));
  }
  if (index >= 0) seen_outputs_[static_cast<size_t>(index)] = true;
  outputs.push_back({name, index});
  return {};
}

base::Status RequestDraft::set_correlation_text(std::string_view text) {
  if (text.size() > kMaxCorrelationText) {
    return base::unsupported("string correlation ID cannot be longer than " +
                             std::to_string(kMaxCorrelationText) + " characters");
  }
  correlation_text = text;
  return {};
}

void write_table(const RequestDraft& draft, shm::RequestBuilder* table) {
  table->header.model = draft.model().handle;
  table->header.correlation_id = draft.correlation_id;
  table->header.batch_size = draft.batch_size;
  table->set_request_id(draft.request_id);
  table->set_correlation_text(draft.correlation_text);
  for (const InputDraft& input : draft.inputs) {
    const TensorSpec& spec = draft.model().inputs[static_cast<size_t>(input.index)];
    table->add_input(spec.name, static_cast<uint16_t>(input.index), input.datatype,
                     draft.dims(input.backend_shape), input.location);
  }
  for (const OutputDraft& output : draft.outputs)
    table->add_output(output.name, static_cast<uint16_t>(output.index));
}

}  // namespace pyserver::model
