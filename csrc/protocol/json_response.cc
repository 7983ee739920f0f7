// From a response table to the JSON part and the list of binary parts.
#include <string>
#include <utility>

#include "protocol/classification.h"
#include "protocol/http_infer.h"
#include "protocol/json_text.h"
#include "protocol/response_data.h"
#include "protocol/response_output.h"

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
  base::Status output(const shm::TensorEntry& entry, bool binary, uint32_t classes);
  base::Status classes(const ResponseOutput& output, bool binary, uint32_t count);
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
      const OutputWish* wished = find_wish(request_.wishes, response_.text(entry.name), hint++);
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

base::Status Encoder::output(const shm::TensorEntry& entry, bool binary, uint32_t classes) {
  ResponseOutput output;
  base::Status status = read_output(model_, response_, entry, find_, &shape_, &output);
  if (!status.ok()) return status;
  if (classes > 0) return this->classes(output, binary, classes);
  describe(output.name, output.datatype, output.shape);
  if (binary) {
    attach(output.bytes);
  } else {
    out_.json += ",\"data\":";
    status = append_json_data(output.name, output.datatype, output.shape, output.bytes, &out_.json);
    if (!status.ok()) return status;
  }
  out_.json += '}';
  return {};
}

base::Status Encoder::classes(const ResponseOutput& output, bool binary, uint32_t count) {
  Classification result;
  base::Status status = classify_output(model_, output, count, &result);
  if (!status.ok()) return status;
  describe(output.name, base::Datatype::kBytes, result.shape);
  std::string& json = out_.json;
  if (binary) {
    std::string& kept = out_.kept.emplace_back();
    append_texts(result, &kept);
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
