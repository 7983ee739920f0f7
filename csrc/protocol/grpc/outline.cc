// One walk over a message's outermost fields, noting where everything is.
#include "protocol/grpc/outline.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "protocol/grpc/infer.h"
#include "protocol/grpc/message_reader.h"
#include "protocol/grpc/tensors.h"

namespace pyserver::protocol::grpc {

namespace {

constexpr uint32_t kModelName = 1, kModelVersion = 2, kId = 3, kParameters = 4, kInputs = 5,
                   kOutputs = 6, kRawInputContents = 7;

// A message of two gigabytes can hold a billion empty tensors. So many more than the model has are looked at for Triton's exact words
// of refusal; beyond that the number alone is told.
constexpr size_t kSpareTensors = 1024;
constexpr size_t kMaxParameters = 65536;
// Of the texts that go into the table: id, parameters' keys and strings.
constexpr uint64_t kMaxTextBytes = 16u << 20;

std::string_view view_of(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

base::Status too_many(const model::ModelSpec& model, const char* what, uint64_t expected,
                      uint64_t got) {
  return base::invalid_argument("expected at most " + std::to_string(expected) + " " + what +
                                " but got " + std::to_string(got) + " " + what + " for model '" +
                                model.name + "'");
}

// A list that keeps no more than `limit` views, and the number of all.
struct Bounded {
  std::vector<std::string_view>* views;
  size_t limit;
  uint64_t count = 0;

  void add(std::string_view bytes) {
    ++count;
    if (views->size() < limit) views->push_back(bytes);
  }
};

class Walk {
 public:
  Walk(const model::ModelSpec& model, Outline* outline)
      : model_(model),
        outline_(*outline),
        inputs_{&outline->inputs, model.inputs.size() + kSpareTensors},
        outputs_{&outline->outputs, model.outputs.size() + kSpareTensors},
        raw_{&outline->raw, model.inputs.size() + kSpareTensors} {}

  base::Status run(std::span<const uint8_t> message);

 private:
  bool field(uint32_t number, std::string_view bytes);
  bool parameter(std::string_view bytes);
  base::Status limits() const;
  void keep_last_parameters();

  const model::ModelSpec& model_;
  Outline& outline_;
  Bounded inputs_;
  Bounded outputs_;
  Bounded raw_;
  uint64_t parameter_count_ = 0;
  uint64_t text_bytes_ = 0;
};

base::Status Walk::run(std::span<const uint8_t> message) {
  MessageReader reader(view_of(message));
  while (reader.next()) {
    if (reader.type() != WireType::length_delimited) continue;
    if (!field(reader.field(), reader.bytes())) return malformed_request();
  }
  if (!reader.complete()) return malformed_request();
  base::Status status = limits();
  if (!status.ok()) return status;
  outline_.raw_count = raw_.count;
  keep_last_parameters();
  return {};
}

bool Walk::field(uint32_t number, std::string_view bytes) {
  switch (number) {
    case kModelName:
    case kModelVersion:
      return is_utf8(bytes);
    case kId:
      outline_.id = bytes;
      return is_utf8(bytes);
    case kParameters:
      return parameter(bytes);
    case kInputs:
      inputs_.add(bytes);
      return true;
    case kOutputs:
      outputs_.add(bytes);
      return true;
    case kRawInputContents:
      raw_.add(bytes);
      return true;
    default:
      return true;
  }
}

bool Walk::parameter(std::string_view bytes) {
  ParameterEntry entry;
  if (!read_parameter_entry(bytes, &entry)) return false;
  text_bytes_ += entry.key.size() + entry.value.text.size();
  if (++parameter_count_ <= kMaxParameters) outline_.parameters.push_back(entry);
  return true;
}

base::Status Walk::limits() const {
  if (inputs_.count > inputs_.limit)
    return too_many(model_, "inputs", model_.inputs.size(), inputs_.count);
  if (outputs_.count > outputs_.limit)
    return too_many(model_, "outputs", model_.outputs.size(), outputs_.count);
  if (parameter_count_ > kMaxParameters)
    return too_many(model_, "parameters", kMaxParameters, parameter_count_);
  const uint64_t texts = text_bytes_ + outline_.id.size();
  if (texts <= kMaxTextBytes) return {};
  return base::invalid_argument("the id and the parameters of the request for model '" +
                                model_.name + "' take " + std::to_string(texts) +
                                " bytes; at most " + std::to_string(kMaxTextBytes) +
                                " are supported");
}

// Of the entries of a map with equal keys the last one counts.
void Walk::keep_last_parameters() {
  std::vector<ParameterEntry>& entries = outline_.parameters;
  constexpr size_t kFew = 16;
  size_t kept = 0;
  if (entries.size() <= kFew) {
    for (auto entry = entries.begin(); entry != entries.end(); ++entry) {
      const auto same = [&](const ParameterEntry& other) { return other.key == entry->key; };
      if (std::none_of(entry + 1, entries.end(), same)) entries[kept++] = *entry;
    }
  } else {
    std::unordered_map<std::string_view, size_t> last;
    for (size_t index = 0; index < entries.size(); ++index) last[entries[index].key] = index;
    for (size_t index = 0; index < entries.size(); ++index) {
      if (last[entries[index].key] == index) entries[kept++] = entries[index];
    }
  }
  entries.resize(kept);
}

}  // namespace

void Outline::clear() {
  id = {};
  parameters.clear();
  inputs.clear();
  outputs.clear();
  raw.clear();
  raw_count = 0;
}

base::Status read_outline(const model::ModelSpec& model, std::span<const uint8_t> message,
                          Outline* outline) {
  outline->clear();
  return Walk(model, outline).run(message);
}

base::Status peek(std::span<const uint8_t> message, RequestHead* head) {
  *head = {};
  bool texts = true;
  MessageReader reader(view_of(message));
  while (reader.next()) {
    if (reader.field() > kId || reader.type() != WireType::length_delimited) continue;
    std::string_view& text = reader.field() == kModelName      ? head->model_name
                             : reader.field() == kModelVersion ? head->model_version
                                                               : head->id;
    text = reader.bytes();
    texts = texts && is_utf8(text);
  }
  if (reader.complete() && texts) return {};
  *head = {};
  return malformed_request();
}

base::Status well_formed(std::span<const uint8_t> message) {
  ParameterEntry entry;
  InputTensor input;
  OutputTensor output;
  std::vector<int64_t> shape;
  MessageReader reader(view_of(message));
  while (reader.next()) {
    if (reader.type() != WireType::length_delimited) continue;
    const std::string_view bytes = reader.bytes();
    bool good = true;
    if (reader.field() <= kId) good = is_utf8(bytes);
    if (reader.field() == kParameters) good = read_parameter_entry(bytes, &entry);
    if (reader.field() == kInputs) good = read_input(bytes, &input, &shape) && good_contents(input);
    if (reader.field() == kOutputs) good = read_output(bytes, &output);
    if (!good) return malformed_request();
  }
  return reader.complete() ? base::Status() : malformed_request();
}

}  // namespace pyserver::protocol::grpc
