// The checks of a request in Triton's order, and the shapes and signature that follow from a request that passes.
#include "model/checks.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <unordered_map>
#include <utility>

namespace pyserver::model {

namespace {

constexpr std::string_view kBatchNote =
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be "
    "prepended to each input shape. If you want to specify the full shape including the batch dim "
    "in your input dims config, try setting max_batch_size to zero. See the model configuration "
    "docs for more info on max_batch_size.";

constexpr uint64_t kHashSeed = 0x9e3779b97f4a7c15;

uint64_t mix(uint64_t hash, uint64_t value) {
  hash ^= value + kHashSeed + (hash << 6) + (hash >> 2);
  hash *= 0xff51afd7ed558ccd;
  return hash ^ (hash >> 33);
}

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

}  // namespace

std::string request_prefix(std::string_view request_id) {
  return "[request id: " + std::string(request_id.empty() ? "<id_unknown>" : request_id) + "] ";
}

// One run over a draft's inputs in a given order. A friend of the draft, whose dims it extends.
class RequestCheck {
 public:
  explicit RequestCheck(RequestDraft* draft)
      : draft_(draft), model_(*draft->model_), dims_mark_(draft->dims_.size()) {}

  base::Status run();

 private:
  base::Status outputs();
  base::Status counts(bool even_if_enough = false) const;
  base::Status required() const;
  base::Status correlation() const;
  base::Status inputs(std::span<const uint32_t> order);
  base::Status batch_size(std::span<const uint32_t> order);
  base::Status one_input(InputDraft* input);
  base::Status shape(const InputDraft& input, std::span<const int64_t> dims) const;
  base::Status byte_size(const InputDraft& input, const TensorSpec& spec) const;
  base::Status strings(const InputDraft& input, int64_t wanted) const;
  void reshape(const TensorSpec& spec, InputDraft* input);
  void sign(const InputDraft& input, const TensorSpec& spec);
  std::vector<uint32_t> triton_order() const;

  std::string prefix() const { return request_prefix(draft_->request_id); }
  std::string for_model() const { return " for model " + quoted(model_.name); }
  bool batching() const { return model_.max_batch_size > 0; }
  // The dimensions that the config speaks of.
  std::span<const int64_t> without_batch(const InputDraft& input, const TensorSpec& spec) const {
    const std::span<const int64_t> dims = draft_->dims(input.shape);
    return batching() && !spec.shape_tensor ? dims.subspan(1) : dims;
  }
  const TensorSpec& spec_of(const InputDraft& input) const {
    return model_.inputs[static_cast<size_t>(input.index)];
  }

  RequestDraft* draft_;
  const ModelSpec& model_;
  size_t dims_mark_;
  int64_t rows_ = -1;
};

base::Status RequestCheck::run() {
  base::Status status = outputs();
  if (status.ok()) status = counts();
  if (!status.ok()) return status;
  constexpr size_t kFew = 16;
  uint32_t few[kFew];
  std::vector<uint32_t> many;
  const size_t count = draft_->inputs.size();
  if (count > kFew) many.resize(count);
  const std::span<uint32_t> order =
      count > kFew ? std::span<uint32_t>(many) : std::span(few, count);
  for (uint32_t index = 0; index < count; ++index) order[index] = index;
  status = inputs(order);
  // Of several faults the one that Triton names first is the one in its own order of inputs.
  if (!status.ok() && count > 1) {
    const base::Status named = inputs(triton_order());
    if (!named.ok()) status = named;
  }
  if (status.ok()) status = required();
  return status.ok() ? correlation() : status;
}

// Optional inputs can make up the number while a required one is missing; Triton leaves that to the model.
base::Status RequestCheck::required() const {
  for (size_t index = 0; index < model_.inputs.size(); ++index) {
    if (!model_.inputs[index].optional && !draft_->seen_inputs_[index]) return counts(true);
  }
  return {};
}

base::Status RequestCheck::outputs() {
  std::vector<OutputDraft>& outputs = draft_->outputs;
  const auto by_name = [](const OutputDraft& a, const OutputDraft& b) { return a.name < b.name; };
  if (outputs.size() > 1) std::sort(outputs.begin(), outputs.end(), by_name);
  for (const OutputDraft& output : outputs) {
    if (output.index < 0) {
      return base::invalid_argument("unexpected inference output " + quoted(output.name) +
                                    for_model());
    }
  }
  return {};
}

// The order in which Triton walks a request's inputs: it keeps them in an unordered_map of this very kind.
std::vector<uint32_t> RequestCheck::triton_order() const {
  std::unordered_map<std::string, uint32_t> by_name;
  for (const InputDraft& input : draft_->inputs) {
    by_name.emplace(std::string(input.name), static_cast<uint32_t>(by_name.size()));
  }
  std::vector<uint32_t> order;
  for (const auto& [name, index] : by_name) order.push_back(index);
  return order;
}

base::Status RequestCheck::counts(bool even_if_enough) const {
  const size_t given = draft_->inputs.size();
  const size_t most = model_.inputs.size();
  size_t least = 0;
  for (const TensorSpec& input : model_.inputs) least += input.optional ? 0 : 1;
  if (given >= least && given <= most && !even_if_enough) return {};
  std::string missing;
  for (size_t index = 0; index < most; ++index) {
    const TensorSpec& input = model_.inputs[index];
    if (!input.optional && !draft_->seen_inputs_[index]) missing += quoted(input.name) + ",";
  }
  std::string got;
  for (const uint32_t index : triton_order()) got += quoted(draft_->inputs[index].name) + ",";
  if (!got.empty()) got.pop_back();
  // Triton takes the last character off its list of the missing, be it a comma or the opening bracket.
  const std::string list =
      missing.empty() ? "]" : "[" + missing.substr(0, missing.size() - 1) + "]";
  const std::string range = least == most
                                ? "expected " + std::to_string(most) + " inputs"
                                : "expected number of inputs between " + std::to_string(least) +
                                      " and " + std::to_string(most);
  return base::invalid_argument(prefix() + range + " but got " + std::to_string(given) + " inputs" +
                                for_model() + ". Got input(s) [" + got +
                                "], but missing required input(s) " + list +
                                ". Please provide all required input(s).");
}

base::Status RequestCheck::inputs(std::span<const uint32_t> order) {
  draft_->dims_.resize(dims_mark_);
  draft_->payload_bytes = 0;
  draft_->signature = 0;
  base::Status status = batch_size(order);
  for (const uint32_t index : order) {
    if (!status.ok()) return status;
    status = one_input(&draft_->inputs[index]);
  }
  return status;
}

base::Status RequestCheck::batch_size(std::span<const uint32_t> order) {
  draft_->batch_size = 1;
  if (!batching()) return {};
  rows_ = -1;
  for (const uint32_t index : order) {
    const InputDraft& input = draft_->inputs[index];
    if (input.index < 0) {
      return base::invalid_argument("unexpected inference input " + quoted(input.name) +
                                    for_model());
    }
    if (spec_of(input).shape_tensor) continue;
    if (input.shape.rank == 0) {
      return base::invalid_argument(prefix() + "input " + quoted(input.name) +
                                    " has no shape but model requires batch dimension for " +
                                    quoted(model_.name));
    }
    const int64_t rows = draft_->dims(input.shape)[0];
    if (rows_ >= 0 && rows != rows_) {
      return base::invalid_argument(prefix() + "input " + quoted(input.name) +
                                    " batch size does not match other inputs for " +
                                    quoted(model_.name));
    }
    rows_ = rows;
  }
  if (rows_ > model_.max_batch_size) {
    return base::invalid_argument(prefix() + "inference request batch-size must be <= " +
                                  std::to_string(model_.max_batch_size) + " for " +
                                  quoted(model_.name));
  }
  if (rows_ >= 0) draft_->batch_size = static_cast<uint32_t>(rows_);
  return {};
}

base::Status RequestCheck::one_input(InputDraft* input) {
  if (input->index < 0) {
    return base::invalid_argument("unexpected inference input " + quoted(input->name) +
                                  for_model());
  }
  const TensorSpec& spec = spec_of(*input);
  if (input->datatype != spec.datatype) {
    return base::invalid_argument(
        prefix() + "inference input " + quoted(input->name) + " data-type is '" +
        std::string(base::wire_name(input->datatype)) + "', but model " + quoted(model_.name) +
        " expects '" + std::string(base::wire_name(spec.datatype)) + "'");
  }
  base::Status status = shape(*input, without_batch(*input, spec));
  if (status.ok()) status = byte_size(*input, spec);
  if (!status.ok()) return status;
  sign(*input, spec);
  reshape(spec, input);
  draft_->payload_bytes += input->location.byte_size;
  return {};
}

base::Status RequestCheck::shape(const InputDraft& input, std::span<const int64_t> dims) const {
  const TensorSpec& spec = spec_of(input);
  const auto unspecified = [&] {
    return base::invalid_argument(prefix() + "All input dimensions should be specified for input " +
                                  quoted(input.name) + for_model() + ", got " +
                                  shape_text(draft_->dims(input.shape)));
  };
  bool fits = dims.size() == spec.dims.size();
  for (size_t index = 0; fits && index < dims.size(); ++index) {
    if (dims[index] < 0) return unspecified();
    fits = spec.dims[index] == -1 || spec.dims[index] == dims[index];
  }
  if (fits) {
    const bool with_batch = batching() && !spec.shape_tensor;
    return with_batch && draft_->dims(input.shape)[0] < 0 ? unspecified() : base::Status();
  }
  std::vector<int64_t> wanted;
  if (batching()) wanted.push_back(-1);
  wanted.insert(wanted.end(), spec.dims.begin(), spec.dims.end());
  return base::invalid_argument(prefix() + "unexpected shape for input " + quoted(input.name) +
                                for_model() + ". Expected " + shape_text(wanted) + ", got " +
                                shape_text(draft_->dims(input.shape)) + ". " +
                                std::string(batching() ? kBatchNote : ""));
}

base::Status RequestCheck::byte_size(const InputDraft& input, const TensorSpec& spec) const {
  const std::span<const int64_t> dims = draft_->dims(input.shape);
  const std::optional<int64_t> elements = element_count(dims);
  if (!elements) return element_count_overflow(input.name, dims);
  if (spec.datatype == base::Datatype::kBytes) {
    return input.readable ? strings(input, *elements) : base::Status();
  }
  int64_t wanted = 0;
  if (__builtin_mul_overflow(*elements, int64_t{base::element_byte_size(spec.datatype)}, &wanted)) {
    return byte_size_overflow(input.name, *elements, spec.datatype);
  }
  // Of no rows Triton expects one row's bytes, and so accepts only rows that have none.
  if (rows_ == 0 && !spec.shape_tensor && input.location.byte_size == 0) {
    const int64_t row = element_count(dims.subspan(1)).value_or(0);
    if (dims.size() > 1) wanted = row * base::element_byte_size(spec.datatype);
  }
  if (input.location.byte_size == static_cast<uint64_t>(wanted)) return {};
  return base::invalid_argument(
      prefix() + "input byte size mismatch for input " + quoted(input.name) + for_model() +
      ". Expected " + std::to_string(wanted) + ", got " + std::to_string(input.location.byte_size));
}

base::Status RequestCheck::strings(const InputDraft& input, int64_t wanted) const {
  const std::string of_input = "inference input " + quoted(input.name) + for_model();
  std::span<const uint8_t> rest = input.bytes;
  int64_t count = 0;
  while (!rest.empty()) {
    uint32_t length = 0;
    if (rest.size() < sizeof length) {
      return base::invalid_argument(
          prefix() + "incomplete string length indicator for " + of_input +
          ", expecting 4 bytes but only " + std::to_string(rest.size()) +
          " bytes available. Please make sure the string length indicator is in one buffer.");
    }
    if (++count > wanted) {
      return base::invalid_argument(prefix() + "unexpected number of string elements " +
                                    std::to_string(count) + " for " + of_input + ", expecting " +
                                    std::to_string(wanted));
    }
    std::memcpy(&length, rest.data(), sizeof length);
    rest = rest.subspan(sizeof length);
    if (length > rest.size()) {
      return base::invalid_argument("incomplete string data for inference input " +
                                    quoted(input.name) + ", expecting string of length " +
                                    std::to_string(length) + " but only " +
                                    std::to_string(rest.size()) + " bytes available");
    }
    rest = rest.subspan(length);
  }
  if (count == wanted) return {};
  return base::invalid_argument(prefix() + "expected " + std::to_string(wanted) +
                                " string elements for " + of_input + ", got " +
                                std::to_string(count));
}

void RequestCheck::reshape(const TensorSpec& spec, InputDraft* input) {
  if (!spec.reshape) {
    input->backend_shape = input->shape;
    return;
  }
  std::vector<int64_t>& dims = draft_->dims_;
  const auto begin = static_cast<uint32_t>(dims.size());
  // By index, because push_back may move what a span would point at.
  uint32_t next = input->shape.begin;
  if (batching() && !spec.shape_tensor) dims.push_back(dims[next++]);
  size_t of_config = 0;
  for (const int64_t dim : *spec.reshape) {
    if (dim != -1) {
      dims.push_back(dim);
      continue;
    }
    while (spec.dims[of_config] != -1) ++of_config;
    dims.push_back(dims[next + of_config++]);
  }
  input->backend_shape = {begin, static_cast<uint32_t>(dims.size()) - begin};
}

// Summed over the inputs, so that their order in the request does not matter.
void RequestCheck::sign(const InputDraft& input, const TensorSpec& spec) {
  uint64_t hash = mix(kHashSeed, static_cast<uint64_t>(input.index));
  if (!spec.ragged) {
    for (const int64_t dim : without_batch(input, spec))
      hash = mix(hash, static_cast<uint64_t>(dim));
  }
  if (spec.shape_tensor) {  // their values must be equal too
    for (const uint8_t byte : input.bytes) hash = mix(hash, byte);
  }
  draft_->signature += hash;
}

base::Status RequestCheck::correlation() const {
  const bool number = draft_->correlation_id != 0;
  const bool text = !draft_->correlation_text.empty();
  const base::Datatype wanted = model_.correlation_datatype;
  if (!model_.sequence || wanted == base::Datatype::kInvalid || (!number && !text)) return {};
  if (text == (wanted == base::Datatype::kBytes)) return {};
  const base::Datatype got = text ? base::Datatype::kBytes : base::Datatype::kUint64;
  return base::invalid_argument(prefix() + "sequence batching control 'CORRID' data-type is '" +
                                std::string(base::wire_name(got)) + "', but model " +
                                quoted(model_.name) + " expects '" +
                                std::string(base::wire_name(wanted)) + "'");
}

base::Status check(RequestDraft* draft) { return RequestCheck(draft).run(); }

}  // namespace pyserver::model
