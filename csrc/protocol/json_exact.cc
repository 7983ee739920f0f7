// The request's JSON by RapidJSON's document parser, in Triton's order and with Triton's words for every refusal.
#include <rapidjson/document.h>
#include <rapidjson/error/en.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>

#include "protocol/json_data.h"
#include "protocol/json_request.h"
#include "protocol/json_value.h"
#include "shm/layout.h"

namespace pyserver::protocol {

namespace {

// The shared-memory members of an input's or output's parameters.
struct SharedMemoryFields {
  bool used = false;
  std::string_view region;
  uint64_t offset = 0;
  uint64_t byte_size = 0;
};

base::Status read_shared_memory(const JsonValue* parameters, SharedMemoryFields* fields) {
  if (parameters == nullptr) return {};
  base::Status status;
  if (const JsonValue* region = find_member(*parameters, "shared_memory_region")) {
    fields->used = true;
    status = explain("Unable to parse 'shared_memory_region'", as_string(*region, &fields->region));
  }
  const JsonValue* offset = find_member(*parameters, "shared_memory_offset");
  if (status.ok() && offset != nullptr) {
    status =
        explain("Unable to parse 'shared_memory_offset'", as_unsigned(*offset, &fields->offset));
  }
  const JsonValue* size = find_member(*parameters, "shared_memory_byte_size");
  if (status.ok() && size != nullptr) {
    status = explain("Unable to parse 'shared_memory_byte_size'",
                     as_unsigned(*size, &fields->byte_size));
  }
  return status;
}

class Pass {
 public:
  Pass(const JsonSource& source, JsonTarget* target) : source_(source), target_(*target) {}

  base::Status request(const JsonValue& root);

 private:
  base::Status parameters(const JsonValue& object);
  base::Status parameter(const char* key, const JsonValue& value);
  base::Status sequence_id(const JsonValue& value);
  base::Status sequence_flag(const char* what, uint8_t flag, const JsonValue& value);
  base::Status custom_parameter(const char* key, const JsonValue& value);
  base::Status inputs(const JsonValue& root);
  base::Status input(const JsonValue& input);
  base::Status one_source(const JsonValue& input) const;
  base::Status shape(const JsonValue& input);
  base::Status tensor(const JsonValue& input, std::string_view name, base::Datatype datatype,
                      shm::Location* location);
  base::Status binary(std::string_view name, uint64_t bytes, shm::Location* location);
  base::Status data(const JsonValue& input, std::string_view name, base::Datatype datatype,
                    shm::Location* location);
  base::Status outputs(const JsonValue& root);
  base::Status output(const JsonValue& output);
  base::Status output_conflicts(const JsonValue* parameters) const;

  const JsonSource& source_;
  JsonTarget& target_;
  std::vector<int64_t> shape_;
};

base::Status Pass::request(const JsonValue& root) {
  base::Status status;
  if (const JsonValue* id = find_member(root, "id")) {
    status = explain("Unable to parse 'id'", as_string(*id, &target_.draft->request_id));
  }
  const JsonValue* object = find_member(root, "parameters");
  if (status.ok() && object != nullptr) status = parameters(*object);
  if (status.ok()) status = inputs(root);
  if (status.ok() && find_member(root, "outputs") != nullptr) status = outputs(root);
  return status;
}

base::Status Pass::parameters(const JsonValue& object) {
  if (!object.IsObject()) {
    return base::internal_error(
        "failed to get request params.: attempt to get members for non-object");
  }
  for (const auto& member : object.GetObject()) {
    // Of members with the same name the first one counts, each time.
    const char* key = member.name.GetString();
    const JsonValue* first = find_member(object, key);
    base::Status status = first == nullptr ? no_member(key) : parameter(key, *first);
    if (!status.ok()) return status;
  }
  return {};
}

base::Status Pass::parameter(const char* key, const JsonValue& value) {
  const std::string_view name = key;
  DecodedRequest& request = *target_.request;
  if (name == "sequence_id") return sequence_id(value);
  if (name == "sequence_start") {
    return sequence_flag("Unable to parse 'sequence_start'", shm::kSequenceStart, value);
  }
  if (name == "sequence_end") {
    return sequence_flag("Unable to parse 'sequence_end'", shm::kSequenceEnd, value);
  }
  if (name == "priority")
    return explain("Unable to parse 'priority'", as_unsigned(value, &request.priority));
  if (name == "timeout")
    return explain("Unable to parse 'timeout'", as_unsigned(value, &request.timeout_us));
  if (name == "binary_data_output") {
    return explain("Unable to parse 'binary_data_output'", as_bool(value, &request.binary_default));
  }
  if (name.starts_with("triton_")) {
    return base::invalid_argument(
        "parameter keys starting with 'triton_' are reserved for Triton usage and should not be "
        "specified.");
  }
  return custom_parameter(key, value);
}

base::Status Pass::sequence_id(const JsonValue& value) {
  if (as_unsigned(value, &target_.draft->correlation_id).ok()) return {};
  std::string_view text;
  base::Status status = explain("Unable to parse 'sequence_id'", as_string(value, &text));
  return status.ok() ? target_.draft->set_correlation_text(text) : status;
}

base::Status Pass::sequence_flag(const char* what, uint8_t flag, const JsonValue& value) {
  bool set = false;
  base::Status status = explain(what, as_bool(value, &set));
  if (set) target_.request->flags |= flag;
  return status;
}

base::Status Pass::custom_parameter(const char* key, const JsonValue& value) {
  shm::Parameter parameter{key, false};
  if (value.IsString()) {
    parameter.value = std::string(text_of(value));
  } else if (value.IsInt64()) {
    parameter.value = value.GetInt64();
  } else if (value.IsBool()) {
    parameter.value = value.GetBool();
  } else if (value.IsNumber()) {
    parameter.value = value.GetDouble();
  } else {
    return base::invalid_argument(
        "parameter '" + std::string(key) +
        "' has invalid type. It should be either 'int', 'bool', or 'string'.");
  }
  target_.request->table.add_parameter(parameter);
  return {};
}

base::Status Pass::inputs(const JsonValue& root) {
  const JsonValue* array = nullptr;
  base::Status status = explain("Unable to parse 'inputs'", member_array(root, "inputs", &array));
  if (!status.ok()) return status;
  for (const JsonValue& item : array->GetArray()) {
    status = input(item);
    if (!status.ok()) return status;
  }
  if (target_.binary.left() == 0) return {};
  return base::invalid_argument("unexpected additional input data for model '" +
                                target_.model.name + "'");
}

base::Status Pass::one_source(const JsonValue& input) const {
  const JsonValue* parameters = find_member(input, "parameters");
  const auto has = [&](const char* key) {
    return parameters != nullptr && find_member(*parameters, key) != nullptr;
  };
  std::string set;
  int count = 0;
  const auto note = [&](bool present, const char* field) {
    if (!present) return;
    ++count;
    set += std::string(" '") + field + "'";
  };
  note(find_member(input, "data") != nullptr, "data");
  note(has("binary_data_size"), "binary_data_size");
  note(has("shared_memory_region"), "shared_memory_region");
  if (count == 1) return {};
  return base::invalid_argument(
      "Input must set only one of the following fields: 'data', 'binary_data_size' in "
      "'parameters', "
      "'shared_memory_region' in 'parameters'. But" +
      (count == 0 ? " no field is set" : " set" + set));
}

base::Status Pass::input(const JsonValue& input) {
  std::string_view name;
  std::string_view datatype;
  base::Status status = one_source(input);
  if (status.ok()) status = explain("Unable to parse 'name'", member_string(input, "name", &name));
  if (status.ok())
    status = explain("Unable to parse 'datatype'", member_string(input, "datatype", &datatype));
  if (status.ok()) status = shape(input);
  if (!status.ok()) return status;
  const base::Datatype known =
      base::datatype_from_wire(datatype).value_or(base::Datatype::kInvalid);
  status = target_.draft->add_input(name, known, shape_);
  if (!status.ok()) return status;
  return tensor(input, name, known, &target_.draft->inputs.back().location);
}

base::Status Pass::shape(const JsonValue& input) {
  const JsonValue* array = nullptr;
  base::Status status = explain("Unable to parse 'shape'", member_array(input, "shape", &array));
  if (!status.ok()) return status;
  shape_.clear();
  for (const JsonValue& item : array->GetArray()) {
    uint64_t dim = 0;
    status = explain("Unable to parse 'shape'", as_unsigned(item, &dim));
    if (!status.ok()) return status;
    shape_.push_back(
        static_cast<int64_t>(dim));  // above INT64_MAX: negative, and refused by the checks
  }
  if (shape_.size() <= shm::kMaxRank) return {};
  return base::invalid_argument("the shape of an input has " + std::to_string(shape_.size()) +
                                " dimensions; at most " + std::to_string(shm::kMaxRank) +
                                " are supported");
}

base::Status Pass::tensor(const JsonValue& input, std::string_view name, base::Datatype datatype,
                          shm::Location* location) {
  const JsonValue* parameters = find_member(input, "parameters");
  const JsonValue* size =
      parameters == nullptr ? nullptr : find_member(*parameters, "binary_data_size");
  if (size != nullptr) {
    uint64_t bytes = 0;
    base::Status status = explain("Unable to parse 'binary_data_size'", as_unsigned(*size, &bytes));
    return status.ok() ? binary(name, bytes, location) : status;
  }
  SharedMemoryFields fields;
  base::Status status = read_shared_memory(parameters, &fields);
  if (!status.ok()) return status;
  return fields.used ? no_region(fields.region) : data(input, name, datatype, location);
}

base::Status Pass::binary(std::string_view name, uint64_t bytes, shm::Location* location) {
  if (bytes <= target_.binary.left()) {
    *location = target_.binary.take(bytes);
    return {};
  }
  return base::invalid_argument("unexpected size for input '" + std::string(name) +
                                "', expecting " + std::to_string(bytes - target_.binary.left()) +
                                " additional bytes for model '" + target_.model.name + "'");
}

base::Status Pass::data(const JsonValue& input, std::string_view name, base::Datatype datatype,
                        shm::Location* location) {
  const std::optional<int64_t> elements = model::element_count(shape_);
  if (!elements) return model::element_count_overflow(name, shape_);
  *location = {shm::Place::kRegion, target_.memory.memory().peer, 0, 0};
  if (*elements == 0) return {};
  const JsonValue* array = nullptr;
  base::Status status = explain("Unable to parse 'data'", member_array(input, "data", &array));
  if (!status.ok()) return status;
  uint64_t expected = 0;
  int64_t product = 0;
  if (datatype == base::Datatype::kBytes) {
    status = json_strings_byte_size(*array, &expected);
  } else if (__builtin_mul_overflow(*elements, int64_t{base::element_byte_size(datatype)},
                                    &product)) {
    status = model::byte_size_overflow(name, *elements, datatype);
  } else {
    expected = static_cast<uint64_t>(product);
  }
  if (!status.ok()) return status;
  const uint64_t limit = target_.max_input_bytes;
  if (limit != 0 && expected > limit) return json_input_too_large(name, expected, limit);
  std::vector<uint8_t> bytes;
  if (may_hold(source_.size, *elements)) bytes.reserve(expected);
  status = read_json_data(name, datatype, *array, *elements, &bytes);
  if (!status.ok() || bytes.empty()) return status;
  uint8_t* memory = target_.memory.take(bytes.size(), location);
  if (memory == nullptr) return out_of_tensor_memory(name, bytes.size());
  std::memcpy(memory, bytes.data(), bytes.size());
  return {};
}

base::Status Pass::outputs(const JsonValue& root) {
  const JsonValue* array = nullptr;
  base::Status status = explain("Unable to parse 'outputs'", member_array(root, "outputs", &array));
  if (!status.ok()) return status;
  for (const JsonValue& item : array->GetArray()) {
    status = output(item);
    if (!status.ok()) return status;
  }
  return {};
}

base::Status Pass::output_conflicts(const JsonValue* parameters) const {
  if (parameters == nullptr || find_member(*parameters, "shared_memory_region") == nullptr)
    return {};
  if (find_member(*parameters, "classification") != nullptr) {
    return base::invalid_argument(
        "Output can't set both 'shared_memory_region' and 'classification'");
  }
  const JsonValue* binary = find_member(*parameters, "binary_data");
  if (binary == nullptr) return {};
  bool set = false;
  base::Status status = explain("Unable to set 'binary_data'", as_bool(*binary, &set));
  if (!status.ok() || !set) return status;
  return base::invalid_argument("Output can't set both 'shared_memory_region' and 'binary_data'");
}

base::Status Pass::output(const JsonValue& output) {
  const JsonValue* parameters = find_member(output, "parameters");
  std::string_view name;
  base::Status status = output_conflicts(parameters);
  if (status.ok()) status = explain("Unable to parse 'name'", member_string(output, "name", &name));
  if (status.ok()) status = target_.draft->add_output(name);
  if (!status.ok()) return status;
  OutputWish wish;
  wish.name = name;
  if (parameters != nullptr) {
    uint64_t classes = 0;
    if (const JsonValue* value = find_member(*parameters, "classification")) {
      status = explain("Unable to set 'classification'", as_unsigned(*value, &classes));
      if (!status.ok()) return status;
    }
    wish.classification = static_cast<uint32_t>(std::min<uint64_t>(classes, UINT32_MAX));
    SharedMemoryFields fields;
    status = read_shared_memory(parameters, &fields);
    if (status.ok() && fields.used) status = no_region(fields.region);
    const JsonValue* binary = find_member(*parameters, "binary_data");
    if (status.ok() && binary != nullptr) {
      status = explain("Unable to parse 'binary_data'", as_bool(*binary, &wish.binary));
    }
  }
  target_.request->wishes.push_back(std::move(wish));
  return status;
}

// How deep arrays and objects of well-formed JSON stand in one another.
size_t nesting(std::string_view text) {
  size_t depth = 0;
  size_t deepest = 0;
  bool in_string = false;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (in_string) {
      if (c == '\\') ++at;
      in_string = c != '"';
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    } else {
      in_string = c == '"';
    }
  }
  return deepest;
}

}  // namespace

struct ExactJsonReader::Parts {
  std::unique_ptr<rapidjson::Document> document;
};

ExactJsonReader::ExactJsonReader() : parts_(std::make_unique<Parts>()) {}
ExactJsonReader::~ExactJsonReader() = default;

void ExactJsonReader::clear() { parts_->document.reset(); }

base::Status ExactJsonReader::read(const JsonSource& source, JsonTarget* target) {
  // Iterative, so that nesting costs memory and no stack. Without full precision, like Triton: a number may come out some
  // units in the last place beside what simdjson reads, and RapidJSON's precise way is undefined for 0e1.
  constexpr unsigned kFlags = rapidjson::kParseNanAndInfFlag | rapidjson::kParseIterativeFlag;
  parts_->document = std::make_unique<rapidjson::Document>();
  rapidjson::Document& document = *parts_->document;
  document.Parse<kFlags>(source.text, source.size);
  if (document.HasParseError()) {
    return base::internal_error("failed to parse the request JSON buffer: " +
                                std::string(rapidjson::GetParseError_En(document.GetParseError())) +
                                " at " + std::to_string(document.GetErrorOffset()));
  }
  if (nesting({source.text, source.size}) > kMaxNesting) {
    return base::invalid_argument("JSON nesting depth exceeds maximum allowed limit (" +
                                  std::to_string(kMaxNesting) + ")");
  }
  return Pass(source, target).request(document);
}

base::Status json_input_too_large(std::string_view input, uint64_t bytes, uint64_t limit) {
  return base::invalid_argument(
      "JSON input '" + std::string(input) + "' has a byte_size (" + std::to_string(bytes) +
      " bytes) that exceeds the maximum allowed value of " + std::to_string(limit) +
      " bytes. Use --http-max-input-size to increase the limit.");
}

}  // namespace pyserver::protocol
