// Request and response tables as a broken peer may write them: refused, or safe to read to the end.
#include <cstdlib>
#include <span>

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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const model::ModelSpec model = make_model();
  uint64_t sum = 0;
  shm::RequestView request;
  if (request.parse({data, size}).ok()) {
    sum += walk(request, request.inputs());
    for (const shm::OutputEntry& output : request.outputs())
      sum += request.text(output.name).size();
    sum += request.request_id().size() + request.correlation_text().size();
  }
  shm::ResponseView response;
  if (response.parse({data, size}).ok()) {
    sum += walk(response, response.outputs()) + response.message().size();
    protocol::DecodedRequest asked;
    asked.binary_default = size % 2 == 0;
    const protocol::FindBytes find =
        [&](const shm::TensorEntry& entry) -> std::optional<std::span<const uint8_t>> {
      if (entry.offset > size || entry.byte_size > size - entry.offset) return std::nullopt;
      return std::span(data + entry.offset, entry.byte_size);
    };
    protocol::EncodedResponse encoded;
    if (protocol::encode(model, asked, response, find, &encoded).ok()) sum += encoded.json.size();
  }
  return sum == UINT64_MAX ? 1 : 0;
}
