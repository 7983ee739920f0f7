// From a response table to the JSON part and the list of binary parts.
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "model/shapes.h"
#include "protocol/classification.h"
#include "protocol/http_infer.h"
#include "protocol/json_text.h"
#include "protocol/response_data.h"

namespace pyserver::protocol {

namespace {

class Encoder {
 public:
  Encoder(const model::ModelSpec& model, const DecodedRequest& request,
          const shm::ResponseView& response, const FindBytes& find, EncodedResponse* out)
      : model_(model), request_(request), response_(response), find_(find), out_(*out) {}

  base::Status run();

 private:
  void head();
  void parameters();
  const OutputWish* find_wish(std::string_view name, size_t hint) const;
  base::Status output(const shm::TensorEntry& entry, bool binary, uint32_t classes);
  base::Status classes(std::string_view name, const model::TensorSpec* spec,
                       base::Datatype datatype, std::span<const int64_t> shape,
                       std::span<const uint8_t> bytes, bool binary, uint32_t count);
  void describe(std::string_view name, base::Datatype datatype, std::span<const int64_t> shape);
  void attach(std::span<const uint8_t> bytes);

  const model::ModelSpec& model_;
  const DecodedRequest& request_;
  const shm::ResponseView& response_;
  const FindBytes& find_;
  EncodedResponse& out_;
  std::vector<int64_t> shape_;
};

base::Status Encoder::run() {
  out_.clear();
  head();
  std::string& json = out_.json;
  json += "\"outputs\":[";
  bool first = true;
  size_t hint = 0;
  for (const shm::TensorEntry& entry : response_.outputs()) {
    bool binary = request_.binary_default;
    uint32_t classes = 0;
    if (!request_.wishes.empty()) {
      const OutputWish* wished = find_wish(response_.text(entry.name), hint++);
      if (wished == nullptr) continue;
      binary = wished->binary;
      classes = wished->classification;
    }
    if (!first) json += ',';
    first = false;
    base::Status status = output(entry, binary, classes);
    if (!status.ok()) return status;
  }
  json += "]}";
  out_.octet_stream = out_.binary_bytes > 0;
  return {};
}

void Encoder::head() {
  std::string& json = out_.json;
  json += '{';
  if (!request_.request_id.empty()) {
    json += "\"id\":";
    append_json_string(request_.request_id, &json);
    json += ',';
  }
  json += "\"model_name\":";
  append_json_string(model_.name, &json);
  json += ",\"model_version\":\"";
  json += model_.version_text;
  json += "\",";
  if (!response_.parameters().empty()) parameters();
}

void Encoder::parameters() {
  std::string& json = out_.json;
  json += "\"parameters\":{";
  bool first = true;
  for (const shm::ParameterEntry& entry : response_.parameters()) {
    const shm::Parameter parameter = response_.parameter(entry);
    if (!first) json += ',';
    first = false;
    append_json_string(parameter.key, &json);
    json += ':';
    if (const auto* flag = std::get_if<bool>(&parameter.value)) {
      json += *flag ? "true" : "false";
    } else if (const auto* integer = std::get_if<int64_t>(&parameter.value)) {
      append_json_integer(*integer, &json);
    } else if (const auto* number = std::get_if<double>(&parameter.value)) {
      append_json_double(*number, &json);
    } else {
      append_json_string(std::get<std::string>(parameter.value), &json);
    }
  }
  json += "},";
}

const OutputWish* Encoder::find_wish(std::string_view name, size_t hint) const {
  const std::vector<OutputWish>& wishes = request_.wishes;
  size_t index = hint < wishes.size() ? hint : 0;
  for (size_t step = 0; step < wishes.size(); ++step) {
    if (wishes[index].name == name) return &wishes[index];
    if (++index == wishes.size()) index = 0;
  }
  return nullptr;
}

base::Status Encoder::output(const shm::TensorEntry& entry, bool binary, uint32_t classes) {
  const std::string_view name = response_.text(entry.name);
  const model::TensorSpec* spec =
      entry.index < model_.outputs.size() ? &model_.outputs[entry.index] : nullptr;
  std::span<const int64_t> shape = response_.shape(entry);
  if (spec != nullptr && spec->reshape &&
      model::undo_reshape(*spec, model_.max_batch_size > 0, shape, &shape_)) {
    shape = shape_;
  }
  std::span<const uint8_t> bytes;
  if (entry.byte_size > 0) {
    const std::optional<std::span<const uint8_t>> found = find_(entry);
    if (!found) {
      return base::internal_error("the bytes of output '" + std::string(name) + "' of model '" +
                                  model_.name + "' are no longer there");
    }
    bytes = *found;
  }
  if (classes > 0) {
    return this->classes(name, spec, entry.datatype, shape, bytes, binary, classes);
  }
  describe(name, entry.datatype, shape);
  if (binary) {
    attach(bytes);
  } else {
    out_.json += ",\"data\":";
    base::Status status = append_json_data(name, entry.datatype, shape, bytes, &out_.json);
    if (!status.ok()) return status;
  }
  out_.json += '}';
  return {};
}

base::Status Encoder::classes(std::string_view name, const model::TensorSpec* spec,
                              base::Datatype datatype, std::span<const int64_t> shape,
                              std::span<const uint8_t> bytes, bool binary, uint32_t count) {
  Classification result;
  base::Status status =
      classify(spec, name, datatype, model_.max_batch_size > 0, shape, bytes, count, &result);
  if (!status.ok()) return status;
  describe(name, base::Datatype::kBytes, result.shape);
  std::string& json = out_.json;
  if (binary) {
    std::string& kept = out_.kept.emplace_back();
    for (const std::string& text : result.texts) {
      const auto length = static_cast<uint32_t>(text.size());
      kept.append(reinterpret_cast<const char*>(&length), sizeof length);
      kept += text;
    }
    attach({reinterpret_cast<const uint8_t*>(kept.data()), kept.size()});
  } else {
    json += ",\"data\":[";
    for (const std::string& text : result.texts) {
      if (&text != &result.texts.front()) json += ',';
      append_json_string(text, &json);
    }
    json += ']';
  }
  json += '}';
  return {};
}

// Opens the output's object: name, datatype and shape.
void Encoder::describe(std::string_view name, base::Datatype datatype,
                       std::span<const int64_t> shape) {
  std::string& json = out_.json;
  json += "{\"name\":";
  append_json_string(name, &json);
  json += ",\"datatype\":\"";
  json += base::wire_name(datatype);
  json += "\",\"shape\":[";
  for (size_t index = 0; index < shape.size(); ++index) {
    if (index > 0) json += ',';
    append_json_integer(shape[index], &json);
  }
  json += ']';
}

void Encoder::attach(std::span<const uint8_t> bytes) {
  out_.json += ",\"parameters\":{\"binary_data_size\":";
  append_json_unsigned(bytes.size(), &out_.json);
  out_.json += '}';
  if (bytes.empty()) return;
  out_.binary.push_back(bytes);
  out_.binary_bytes += bytes.size();
}

}  // namespace

void EncodedResponse::clear() {
  json.clear();
  binary.clear();
  binary_bytes = 0;
  octet_stream = false;
  if (!kept.empty()) kept.clear();
}

base::Status encode(const model::ModelSpec& model, const DecodedRequest& request,
                    const shm::ResponseView& response, const FindBytes& find,
                    EncodedResponse* out) {
  return Encoder(model, request, response, find, out).run();
}

}  // namespace pyserver::protocol
