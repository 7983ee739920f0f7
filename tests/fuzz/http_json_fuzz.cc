// Bodies of inference requests: whatever comes, both readers of the JSON agree, and a request that passes can be answered.
//
// The first byte chooses the model, the second how the JSON part's length is told; the rest is the body.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../cpp/protocol/bench_of_bodies.h"

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

[[noreturn]] void disagree(const char* what, const std::string& fast, const std::string& exact) {
  std::fprintf(stderr, "the readers disagree on %s\n  fast:  %s\n  exact: %s\n", what, fast.c_str(),
               exact.c_str());
  std::abort();
}

// Everything about a decoded request as one text; places in memory aside.
// Real numbers go to `reals`, since the readers may differ in their last bits.
std::string describe(const BenchOfBodies& bench, std::vector<double>* reals) {
  const DecodedRequest& request = bench.request;
  std::string text = request.request_id + "|" + std::to_string(request.batch_size) + "|" +
                     std::to_string(request.flags) + "|" + std::to_string(request.signature) + "|" +
                     std::to_string(request.timeout_us) + "|" + std::to_string(request.priority) +
                     "|" + std::to_string(request.payload_bytes) + "|" +
                     std::to_string(request.binary_default);
  for (const OutputWish& wish : request.wishes) {
    text += "|" + wish.name + "," + std::to_string(wish.binary) + "," +
            std::to_string(wish.classification);
  }
  for (size_t index = 0; index < bench.table.inputs().size(); ++index) {
    const shm::TensorEntry& entry = bench.table.inputs()[index];
    text += "|" + std::string(bench.table.text(entry.name));
    for (const int64_t dim : bench.table.shape(entry)) text += "," + std::to_string(dim);
    if (entry.datatype == Datatype::kFp32) {
      for (const float real : bench.input_values<float>(index)) reals->push_back(real);
    } else if (entry.datatype == Datatype::kFp64) {
      for (const double real : bench.input_values<double>(index)) reals->push_back(real);
    } else {
      text += "=" + bench.input_bytes(index);
    }
  }
  for (const shm::ParameterEntry& entry : bench.table.parameters()) {
    const shm::Parameter parameter = bench.table.parameter(entry);
    text += "|" + parameter.key + ":" + std::to_string(parameter.value.index());
    if (const auto* words = std::get_if<std::string>(&parameter.value)) text += *words;
    if (const auto* integer = std::get_if<int64_t>(&parameter.value))
      text += std::to_string(*integer);
  }
  text += "|" + std::to_string(bench.table.header().correlation_id) + "," +
          std::string(bench.table.correlation_text());
  return text;
}

bool alike(const std::vector<double>& one, const std::vector<double>& other) {
  if (one.size() != other.size()) return false;
  for (size_t index = 0; index < one.size(); ++index) {
    const double a = one[index];
    const double b = other[index];
    const bool equal = std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b));
    if (!equal && !(std::abs(a - b) <= std::abs(a) * 2.4e-7 + 1e-44)) return false;
  }
  return true;
}

// The request's own inputs as the answer.
void answer(BenchOfBodies& bench, const model::ModelSpec& model) {
  MadeResponse response;
  for (size_t index = 0; index < bench.table.inputs().size(); ++index) {
    const shm::TensorEntry& entry = bench.table.inputs()[index];
    const std::span<const int64_t> shape = bench.table.shape(entry);
    const size_t output = index < model.outputs.size() ? index : 0;
    if (model.outputs.empty()) break;
    response.add(model.outputs[output].name, static_cast<uint16_t>(output), entry.datatype,
                 {shape.begin(), shape.end()}, bench.input_bytes(index));
  }
  EncodedResponse encoded;
  const base::Status status = response.encode(model, bench.request, &encoded);
  if (status.ok() && (encoded.json.empty() || encoded.json.back() != '}')) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<model::ModelSpec> models = make_models();
  static BenchOfBodies bench;
  if (size < 2) return 0;
  bench.max_input_bytes = 1 << 20;
  const model::ModelSpec& model = models[data[0] % models.size()];
  const uint8_t mode = data[1];
  const std::string body(reinterpret_cast<const char*>(data) + 2, size - 2);
  // 255: no header; 254: behind the last brace; else so many bytes before the end.
  std::optional<std::string> length;
  if (mode == 254) {
    const size_t brace = body.rfind('}');
    length = std::to_string(brace == std::string::npos ? body.size() : brace + 1);
  } else if (mode != 255) {
    length = std::to_string(static_cast<int64_t>(body.size()) - mode);
  }
  const uint64_t padding = mode % 2 == 0 ? 64 : 0;
  bench.decoder.read_exactly_only(true);
  const base::Status exact = bench.decode_body(model, body, length, padding);
  std::vector<double> wanted_reals;
  const std::string wanted = exact.ok() ? describe(bench, &wanted_reals) : exact.message();
  bench.decoder.read_exactly_only(false);
  const base::Status fast = bench.decode_body(model, body, length, padding);
  std::vector<double> got_reals;
  const std::string got = fast.ok() ? describe(bench, &got_reals) : fast.message();
  if (exact.ok() != fast.ok() || wanted != got || !alike(wanted_reals, got_reals)) {
    disagree(model.name.c_str(), got, wanted);
  }
  if (fast.ok()) answer(bench, model);
  bench.forget();
  if (bench.allocator().live_blocks() != 0) disagree("memory", "blocks are left", "");
  return 0;
}
