// Request and response tables as a broken peer may write them: refused, or safe to read to the end.
//
// The first byte chooses: the rest is a table, or changes to a good one (a place in two bytes, then the new byte).
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "protocol/http_infer.h"
#include "shm/table.h"

namespace {

using namespace pyserver;

uint64_t walk(const shm::TableView& view, std::span<const shm::TensorEntry> tensors) {
  uint64_t sum = 0;
  for (const shm::TensorEntry& tensor : tensors) {
    for (const char letter : view.text(tensor.name)) sum += static_cast<uint8_t>(letter);
    for (const int64_t dim : view.shape(tensor)) sum += static_cast<uint64_t>(dim);
  }
  for (const shm::ParameterEntry& entry : view.parameters())
    sum += view.parameter(entry).key.size();
  return sum;
}

model::ModelSpec make_model() {
  model::ModelSpec model;
  model.name = "m";
  model.version_text = "1";
  model.max_batch_size = 4;
  model.outputs.resize(2);
  model.outputs[1].reshape = std::vector<int64_t>{-1};
  model.outputs[1].dims = {1, -1};
  return model;
}

std::vector<uint8_t> good_request() {
  shm::RequestBuilder builder;
  builder.set_request_id("id");
  builder.set_correlation_text("correlation");
  const std::vector<int64_t> shape = {4, -1};
  builder.add_input("first", 0, base::Datatype::kFp32, shape, {shm::Place::kRegion, 7, 64, 128});
  builder.add_input("second", 1, base::Datatype::kBytes, {}, {});
  builder.add_output("answer", 5);
  builder.add_parameter({"text", std::string("value")});
  builder.add_parameter({"whole", int64_t{-5}});
  const std::span<const uint8_t> bytes = builder.finish();
  return {bytes.begin(), bytes.end()};
}

std::vector<uint8_t> good_response() {
  shm::ResponseBuilder builder;
  const std::vector<int64_t> shape = {1, 2};
  builder.add_output("plain", 0, base::Datatype::kFp32, shape, {shm::Place::kRegion, 1, 0, 8});
  builder.add_output("reshaped", 1, base::Datatype::kInt16, shape, {shm::Place::kRegion, 1, 8, 4});
  builder.add_output("strings", 0xffff, base::Datatype::kBytes, shape,
                     {shm::Place::kRegion, 1, 0, 16});
  builder.add_parameter({"text", std::string("value")});
  builder.add_parameter({"real", 0.5});
  const std::span<const uint8_t> bytes = builder.finish();
  return {bytes.begin(), bytes.end()};
}

std::vector<uint8_t> changed(std::vector<uint8_t> bytes, std::span<const uint8_t> changes) {
  for (; changes.size() >= 3; changes = changes.subspan(3)) {
    bytes[(changes[0] + size_t{changes[1]} * 256) % bytes.size()] = changes[2];
  }
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const model::ModelSpec model = make_model();
  if (size == 0) return 0;
  const std::span<const uint8_t> rest(data + 1, size - 1);
  std::vector<uint8_t> table(rest.begin(), rest.end());
  if (data[0] % 3 == 1) table = changed(good_request(), rest);
  if (data[0] % 3 == 2) table = changed(good_response(), rest);
  uint64_t sum = 0;
  shm::RequestView request;
  if (request.parse(table).ok()) {
    sum += walk(request, request.inputs());
    for (const shm::OutputEntry& output : request.outputs())
      sum += request.text(output.name).size();
    sum += request.request_id().size() + request.correlation_text().size();
  }
  shm::ResponseView response;
  if (response.parse(table).ok()) {
    sum += walk(response, response.outputs()) + response.message().size();
    protocol::DecodedRequest asked;
    asked.binary_default = data[0] >= 128;
    const protocol::FindBytes find =
        [&](const shm::TensorEntry& entry) -> std::optional<std::span<const uint8_t>> {
      if (entry.offset > table.size() || entry.byte_size > table.size() - entry.offset)
        return std::nullopt;
      return std::span<const uint8_t>(table).subspan(entry.offset, entry.byte_size);
    };
    protocol::EncodedResponse encoded;
    if (protocol::encode(model, asked, response, find, &encoded).ok()) sum += encoded.json.size();
  }
  return sum == UINT64_MAX ? 1 : 0;
}
