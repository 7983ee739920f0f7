// The request's JSON by simdjson's on-demand parser: one pass, numbers straight into typed memory.
//
// Everything here returns false for "not sure": unknown members that hold more than a scalar, repeated members, escapes in member
// names, data ahead of its shape, wrong types, numbers in odd spellings. See json_request.h.
#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "protocol/json_fast_data.h"
#include "protocol/json_request.h"
#include "shm/layout.h"

namespace pyserver::protocol {

namespace {

// A parser for a larger text is made anew each time, so that one giant request does not hold memory for ever.
constexpr size_t kKeptParserBytes = 1 << 20;

// A member with its name as it stands in the text; false when the name holds an escape.
bool read_member(simdjson::simdjson_result<ondemand::field> item, ondemand::field* field,
                 std::string_view* key) {
  if (std::move(item).get(*field) != SUCCESS) return false;
  const char* begin = field->key().raw();
  const char* end = begin;
  for (; *end != '"'; ++end) {
    if (*end == '\\') return false;
  }
  *key = {begin, static_cast<size_t>(end - begin)};
  return true;
}

// Passes over the value of an unknown member, but only if seeing that it is well formed is cheap.
bool pass_over(ondemand::value value) {
  ondemand::json_type type{};
  if (value.type().get(type) != SUCCESS) return false;
  switch (type) {
    case ondemand::json_type::string: {
      std::string_view text;
      return value.get_string().get(text) == SUCCESS;
    }
    case ondemand::json_type::number: {
      ondemand::number number;
      return value.get_number().get(number) == SUCCESS;
    }
    case ondemand::json_type::boolean: {
      bool flag = false;
      return value.get_bool().get(flag) == SUCCESS;
    }
    case ondemand::json_type::null: {
      bool null = false;
      return value.is_null().get(null) == SUCCESS && null;
    }
    default:
      return false;
  }
}

bool mark_seen(uint32_t* seen, uint32_t bit) {
  if ((*seen & bit) != 0) return false;
  *seen |= bit;
  return true;
}

class Pass {
 public:
  Pass(const JsonSource& source, JsonTarget* target, std::string* scratch)
      : source_(source), target_(*target), scratch_(*scratch) {}

  bool request(ondemand::document& document);

 private:
  struct Input {
    uint32_t seen = 0;
    std::string_view name;
    base::Datatype datatype = base::Datatype::kInvalid;
    std::optional<uint64_t> binary_size;
    bool has_data = false;
    shm::Location location;
  };

  bool parameters(ondemand::value value);
  bool parameter(std::string_view key, ondemand::value value);
  bool custom_parameter(std::string_view key, ondemand::value value);
  bool sequence_id(ondemand::value value);
  bool sequence_flag(uint8_t flag, ondemand::value value);
  bool inputs(ondemand::value value);
  bool input(ondemand::object object);
  bool input_member(std::string_view key, ondemand::value value, Input* input);
  bool input_parameters(ondemand::value value, Input* input);
  bool shape(ondemand::value value);
  bool data(ondemand::value value, Input* input);
  bool strings(ondemand::array array, Input* input);
  bool outputs(ondemand::value value);
  bool output(ondemand::object object);
  bool output_parameters(ondemand::value value, OutputWish* wish);

  const JsonSource& source_;
  JsonTarget& target_;
  std::string& scratch_;
  std::vector<int64_t> shape_;
  std::vector<std::string_view> keys_;
};

bool Pass::request(ondemand::document& document) {
  ondemand::object root;
  if (document.get_object().get(root) != SUCCESS) return false;
  constexpr uint32_t kId = 1, kParameters = 2, kInputs = 4, kOutputs = 8;
  uint32_t seen = 0;
  for (auto item : root) {
    ondemand::field field;
    std::string_view key;
    if (!read_member(item, &field, &key)) return false;
    ondemand::value value = field.value();
    bool good = false;
    if (key == "inputs") {
      good = mark_seen(&seen, kInputs) && inputs(value);
    } else if (key == "outputs") {
      good = mark_seen(&seen, kOutputs) && outputs(value);
    } else if (key == "parameters") {
      good = mark_seen(&seen, kParameters) && parameters(value);
    } else if (key == "id") {
      good = mark_seen(&seen, kId) && value.get_string().get(target_.draft->request_id) == SUCCESS;
    } else {
      good = pass_over(value);
    }
    if (!good) return false;
  }
  const char* behind = nullptr;
  const bool at_end = document.current_location().get(behind) == simdjson::OUT_OF_BOUNDS;
  return at_end && (seen & kInputs) != 0 && target_.binary.left() == 0;
}

bool Pass::parameters(ondemand::value value) {
  ondemand::object object;
  if (value.get_object().get(object) != SUCCESS) return false;
  keys_.clear();
  for (auto item : object) {
    ondemand::field field;
    std::string_view key;
    if (!read_member(item, &field, &key) || keys_.size() == 64) return false;
    for (const std::string_view other : keys_) {
      if (other == key) return false;
    }
    keys_.push_back(key);
    if (!parameter(key, field.value())) return false;
  }
  return true;
}

bool Pass::parameter(std::string_view key, ondemand::value value) {
  if (key == "binary_data_output") {
    return value.get_bool().get(target_.request->binary_default) == SUCCESS;
  }
  if (key == "sequence_id") return sequence_id(value);
  if (key == "sequence_start") return sequence_flag(shm::kSequenceStart, value);
  if (key == "sequence_end") return sequence_flag(shm::kSequenceEnd, value);
  if (key == "priority") return value.get_uint64().get(target_.request->priority) == SUCCESS;
  if (key == "timeout") return value.get_uint64().get(target_.request->timeout_us) == SUCCESS;
  return !key.starts_with("triton_") && custom_parameter(key, value);
}

bool Pass::sequence_flag(uint8_t flag, ondemand::value value) {
  bool set = false;
  if (value.get_bool().get(set) != SUCCESS) return false;
  if (set) target_.request->flags |= flag;
  return true;
}

bool Pass::sequence_id(ondemand::value value) {
  if (value.get_uint64().get(target_.draft->correlation_id) == SUCCESS) return true;
  target_.draft->correlation_id = 0;
  std::string_view text;
  return value.get_string().get(text) == SUCCESS && target_.draft->set_correlation_text(text).ok();
}

bool Pass::custom_parameter(std::string_view key, ondemand::value value) {
  shm::Parameter parameter{std::string(key), false};
  ondemand::json_type type{};
  if (value.type().get(type) != SUCCESS) return false;
  if (type == ondemand::json_type::string) {
    std::string_view text;
    if (value.get_string().get(text) != SUCCESS) return false;
    parameter.value = std::string(text);
  } else if (type == ondemand::json_type::boolean) {
    bool flag = false;
    if (value.get_bool().get(flag) != SUCCESS) return false;
    parameter.value = flag;
  } else if (type == ondemand::json_type::number) {
    int64_t integer = 0;
    double real = 0;
    if (value.get_int64().get(integer) == SUCCESS) {
      parameter.value = integer;
    } else if (read_real(value, &real)) {
      parameter.value = real;
    } else {
      return false;
    }
  } else {
    return false;
  }
  target_.request->table.add_parameter(parameter);
  return true;
}

bool Pass::inputs(ondemand::value value) {
  ondemand::array array;
  if (value.get_array().get(array) != SUCCESS) return false;
  for (auto item : array) {
    ondemand::object object;
    if (item.get_object().get(object) != SUCCESS || !input(object)) return false;
  }
  return true;
}

constexpr uint32_t kName = 1, kDatatype = 2, kShape = 4, kInputParameters = 8, kData = 16;

bool Pass::input(ondemand::object object) {
  Input input;
  shape_.clear();
  for (auto item : object) {
    ondemand::field field;
    std::string_view key;
    if (!read_member(item, &field, &key) || !input_member(key, field.value(), &input)) {
      return false;
    }
  }
  constexpr uint32_t kNeeded = kName | kDatatype | kShape;
  if ((input.seen & kNeeded) != kNeeded || input.has_data == input.binary_size.has_value())
    return false;
  if (input.binary_size) {
    if (*input.binary_size > target_.binary.left()) return false;
    input.location = target_.binary.take(*input.binary_size);
  }
  if (!target_.draft->add_input(input.name, input.datatype, shape_).ok()) return false;
  target_.draft->inputs.back().location = input.location;
  return true;
}

bool Pass::input_member(std::string_view key, ondemand::value value, Input* input) {
  if (key == "name")
    return mark_seen(&input->seen, kName) && value.get_string().get(input->name) == SUCCESS;
  if (key == "datatype") {
    std::string_view text;
    if (!mark_seen(&input->seen, kDatatype) || value.get_string().get(text) != SUCCESS)
      return false;
    const std::optional<base::Datatype> known = base::datatype_from_wire(text);
    if (known) input->datatype = *known;
    return known.has_value();
  }
  if (key == "shape") return mark_seen(&input->seen, kShape) && shape(value);
  if (key == "parameters") {
    return mark_seen(&input->seen, kInputParameters) && input_parameters(value, input);
  }
  if (key == "data") return mark_seen(&input->seen, kData) && data(value, input);
  return pass_over(value);
}

bool Pass::shape(ondemand::value value) {
  ondemand::array array;
  if (value.get_array().get(array) != SUCCESS) return false;
  for (auto item : array) {
    uint64_t dim = 0;
    if (item.get_uint64().get(dim) != SUCCESS || dim > INT64_MAX) return false;
    shape_.push_back(static_cast<int64_t>(dim));
  }
  return shape_.size() <= shm::kMaxRank;
}

bool Pass::input_parameters(ondemand::value value, Input* input) {
  ondemand::object object;
  if (value.get_object().get(object) != SUCCESS) return false;
  for (auto item : object) {
    ondemand::field field;
    std::string_view key;
    if (!read_member(item, &field, &key)) return false;
    if (key == "binary_data_size") {
      uint64_t size = 0;
      if (input->binary_size || field.value().get_uint64().get(size) != SUCCESS) return false;
      input->binary_size = size;
    } else if (key.starts_with("shared_memory") || !pass_over(field.value())) {
      return false;
    }
  }
  return true;
}

bool Pass::data(ondemand::value value, Input* input) {
  constexpr uint32_t kBefore = kDatatype | kShape;
  ondemand::array array;
  if ((input->seen & kBefore) != kBefore || value.get_array().get(array) != SUCCESS) return false;
  input->has_data = true;
  const std::optional<int64_t> count = model::element_count(shape_);
  if (!count || !may_hold(source_.size, *count)) return false;
  if (*count == 0) {  // its data is not read, so it has to be nothing
    for (auto item : array) {
      (void)item;
      return false;
    }
    input->location = {shm::Place::kRegion, target_.memory.memory().peer, 0, 0};
    return true;
  }
  if (input->datatype == base::Datatype::kBytes) return strings(array, input);
  const uint64_t bytes = static_cast<uint64_t>(*count) * base::element_byte_size(input->datatype);
  if (target_.max_input_bytes != 0 && bytes > target_.max_input_bytes) return false;
  uint8_t* memory = target_.memory.take(bytes, &input->location);
  return memory != nullptr &&
         read_typed(input->datatype, array, memory, static_cast<uint64_t>(*count));
}

bool Pass::strings(ondemand::array array, Input* input) {
  scratch_.clear();
  StringSink sink{&scratch_};
  if (!read_data(array, kDataNesting, &sink)) return false;
  if (target_.max_input_bytes != 0 && scratch_.size() > target_.max_input_bytes) return false;
  uint8_t* memory = target_.memory.take(scratch_.size(), &input->location);
  if (memory == nullptr) return false;
  std::memcpy(memory, scratch_.data(), scratch_.size());
  return true;
}

bool Pass::outputs(ondemand::value value) {
  ondemand::array array;
  if (value.get_array().get(array) != SUCCESS) return false;
  for (auto item : array) {
    ondemand::object object;
    if (item.get_object().get(object) != SUCCESS || !output(object)) return false;
  }
  return true;
}

bool Pass::output(ondemand::object object) {
  constexpr uint32_t kOutputName = 1, kOutputParameters = 2;
  uint32_t seen = 0;
  std::string_view name;
  OutputWish wish;
  for (auto item : object) {
    ondemand::field field;
    std::string_view key;
    if (!read_member(item, &field, &key)) return false;
    bool good = false;
    if (key == "name") {
      good = mark_seen(&seen, kOutputName) && field.value().get_string().get(name) == SUCCESS;
    } else if (key == "parameters") {
      good = mark_seen(&seen, kOutputParameters) && output_parameters(field.value(), &wish);
    } else {
      good = pass_over(field.value());
    }
    if (!good) return false;
  }
  if ((seen & kOutputName) == 0 || !target_.draft->add_output(name).ok()) return false;
  wish.name = name;
  target_.request->wishes.push_back(std::move(wish));
  return true;
}

bool Pass::output_parameters(ondemand::value value, OutputWish* wish) {
  constexpr uint32_t kBinary = 1, kClassification = 2;
  uint32_t seen = 0;
  ondemand::object object;
  if (value.get_object().get(object) != SUCCESS) return false;
  for (auto item : object) {
    ondemand::field field;
    std::string_view key;
    if (!read_member(item, &field, &key)) return false;
    if (key == "binary_data") {
      if (!mark_seen(&seen, kBinary) || field.value().get_bool().get(wish->binary) != SUCCESS)
        return false;
    } else if (key == "classification") {
      uint64_t classes = 0;
      if (!mark_seen(&seen, kClassification) || field.value().get_uint64().get(classes) != SUCCESS)
        return false;
      wish->classification = static_cast<uint32_t>(std::min<uint64_t>(classes, UINT32_MAX));
    } else if (key.starts_with("shared_memory") || !pass_over(field.value())) {
      return false;
    }
  }
  return true;
}

}  // namespace

struct FastJsonReader::Parts {
  ondemand::parser parser;
  std::unique_ptr<ondemand::parser>
      large_parser;  // lives as long as the draft that refers to its strings
  std::string padded;
  std::string scratch;
};

FastJsonReader::FastJsonReader() : parts_(std::make_unique<Parts>()) {}
FastJsonReader::~FastJsonReader() = default;

bool FastJsonReader::read(const JsonSource& source, JsonTarget* target) {
  simdjson::padded_string_view view(source.text, source.size, source.capacity);
  if (source.capacity - source.size < simdjson::SIMDJSON_PADDING) {
    parts_->padded.assign(source.text, source.size);
    parts_->padded.resize(source.size + simdjson::SIMDJSON_PADDING, ' ');
    view = simdjson::padded_string_view(parts_->padded.data(), source.size, parts_->padded.size());
  }
  parts_->large_parser.reset();
  ondemand::parser* parser = &parts_->parser;
  if (source.size > kKeptParserBytes) {
    parts_->large_parser = std::make_unique<ondemand::parser>();
    parser = parts_->large_parser.get();
  }
  ondemand::document document;
  if (parser->iterate(view).get(document) != SUCCESS) return false;
  return Pass(source, target, &parts_->scratch).request(document);
}

}  // namespace pyserver::protocol
