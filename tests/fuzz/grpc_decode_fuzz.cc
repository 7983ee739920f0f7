// ModelInferRequests: whatever comes, a refusal leaves nothing behind, and a request that passes can be answered in both ways.
//
// The first byte chooses the model, the rest is the message.
#include <cstdlib>
#include <string>
#include <vector>

#include "../cpp/protocol/grpc_messages.h"
#include "protocol/grpc/message_reader.h"
#include "protocol/grpc/status.h"
#include "protocol/grpc/tensors.h"

namespace {

using namespace pyserver;
using namespace pyserver::protocol;
using base::Datatype;

std::vector<model::ModelSpec> make_models() {
  std::vector<model::ModelSpec> models;
  for (uint8_t number = 1; number <= base::kMaxDatatype; ++number) {
    models.push_back(any_model(static_cast<Datatype>(number)));
  }
  models.push_back(identity_model());
  models.push_back(make_model(
      "two", 4, {tensor("A", Datatype::kFp32, {-1, 2}), tensor("B", Datatype::kBytes, {-1})},
      {tensor("X", Datatype::kInt32, {-1}), tensor("Y", Datatype::kFp32, {-1, 2})}));
  models.back().inputs[1].optional = true;
  models.back().inputs[0].reshape = std::vector<int64_t>{2, 1, -1};
  models.back().outputs[1].reshape = std::vector<int64_t>{2, 1, -1};
  models.back().outputs[0].labels = {"cat", "dog"};
  models.push_back(make_model("sequence", 1, {tensor("IN", Datatype::kInt8, {1})}, {}));
  models.back().sequence = true;
  models.back().correlation_datatype = Datatype::kBytes;
  return models;
}

void require(bool good) {
  if (!good) std::abort();
}

// What was encoded is a message again, and as long as it says.
void check_message(const grpc::EncodedMessage& message) {
  const std::string bytes = grpc::joined(message);
  require(bytes.size() == message.byte_size && bytes.size() >= 5);
  grpc::MessageReader reader(std::string_view(bytes).substr(5));
  while (reader.next()) continue;
  require(reader.complete());
}

// The request's own inputs as the answer.
void answer(grpc::BenchOfMessages& bench, const model::ModelSpec& model) {
  if (model.outputs.empty()) return;
  grpc::MadeGrpcResponse response;
  for (size_t index = 0; index < bench.table.inputs().size(); ++index) {
    const shm::TensorEntry& entry = bench.table.inputs()[index];
    const std::span<const int64_t> shape = bench.table.shape(entry);
    const size_t output = index < model.outputs.size() ? index : 0;
    response.add(model.outputs[output].name, static_cast<uint16_t>(output), entry.datatype,
                 {shape.begin(), shape.end()}, bench.input_bytes(index));
  }
  grpc::EncodedMessage message;
  const std::optional<bool> final =
      bench.request.flags == 0 ? std::nullopt : std::optional<bool>(true);
  if (response.encode(model, bench.request, final, &message).ok()) check_message(message);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<model::ModelSpec> models = make_models();
  static grpc::BenchOfMessages bench;
  if (size < 1) return 0;
  const model::ModelSpec& model = models[data[0] % models.size()];
  // A copy of just that size, so that a byte too many is seen; decode() gets it in the region.
  const std::vector<char> message(data + 1, data + size);
  const std::string_view view(message.data(), message.size());
  grpc::RequestHead head;
  const bool peeked = grpc::peek(grpc::span_of(view), &head).ok();
  const base::Status status = bench.decode(model, view);
  require(peeked || !status.ok());
  const bool formed = grpc::well_formed(grpc::span_of(view)).ok();
  require(formed ? status.message() != grpc::malformed_request().message() : !status.ok());
  if (status.ok()) {
    answer(bench, model);
  } else {
    require(grpc::percent_encode(status.message()).size() <= grpc::kMaxStatusMessageBytes);
  }
  grpc::parse_timeout_ns(view);
  grpc::EncodedMessage notice;
  grpc::encode_stream_notice({status.message(), head.model_name, head.model_version, head.id, true},
                             &notice);
  check_message(notice);
  bench.forget();
  require(bench.allocator().live_blocks() == 0);
  return 0;
}
