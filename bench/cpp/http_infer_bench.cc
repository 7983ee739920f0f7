// How long one small request's decode() and encode() take: CPU nanoseconds per round, best of several runs.
//
//   cmake -S csrc -B BUILD -G Ninja && cmake --build BUILD --target pyserver_protocol
//   g++ -std=c++20 -O2 -I csrc -I tests/cpp bench/cpp/http_infer_bench.cc BUILD/libpyserver_{protocol,model,shm}.a -lsimdjson
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "protocol/bench_of_bodies.h"

namespace {

using namespace pyserver;
using namespace pyserver::protocol;

uint64_t cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

std::string json_floats(size_t count) {
  std::string text;
  for (size_t index = 0; index < count; ++index) {
    if (index > 0) text += ',';
    text += std::to_string(static_cast<double>(index) * 0.37 + 0.001);
  }
  return text;
}

class Case {
 public:
  Case(const char* name, model::ModelSpec model, std::string json, std::string binary,
       size_t rounds)
      : name_(name), model_(std::move(model)), rounds_(rounds) {
    base::UniqueFd fd;
    if (!shm::make_memfd("bench", 256 << 20, &fd).ok()) std::abort();
    if (!shm::Mapping::map(fd.get(), true, &mapping_).ok()) std::abort();
    allocator_.emplace(&mapping_, mapping_.size(), mapping_.size());
    memory_ = {3, &mapping_, &*allocator_};
    header_length_ = std::to_string(json.size());
    const std::string body = json + binary;
    const uint64_t at = *allocator_->allocate(body.size() + 64);
    std::memcpy(mapping_.data() + at, body.data(), body.size());
    body_ = {at, body.size(), body.size() + 64, header_length_, 64 << 20};
  }

  void run() {
    make_response();
    uint64_t decode_ns = UINT64_MAX;
    uint64_t encode_ns = UINT64_MAX;
    for (int attempt = 0; attempt < 7; ++attempt) {
      const uint64_t begin = cpu_ns();
      for (size_t round = 0; round < rounds_; ++round) decode();
      const uint64_t middle = cpu_ns();
      for (size_t round = 0; round < rounds_; ++round) encode();
      const uint64_t end = cpu_ns();
      decode_ns = std::min(decode_ns, (middle - begin) / rounds_);
      encode_ns = std::min(encode_ns, (end - middle) / rounds_);
    }
    std::printf("| %-34s | %8llu | %8llu | %8llu |\n", name_,
                static_cast<unsigned long long>(decode_ns),
                static_cast<unsigned long long>(encode_ns),
                static_cast<unsigned long long>(decode_ns + encode_ns));
  }

 private:
  // What a gateway does with a body: decode it, lay the table out, forget it.
  void decode() {
    for (const uint64_t block : request_.blocks) allocator_->free(block);
    request_.clear();
    if (!decoder_.decode(model_, body_, memory_, &request_).ok()) std::abort();
    finished_ = request_.table.finish();
  }

  void make_response() {
    decode();
    if (!table_.parse(finished_).ok()) std::abort();
    shm::ResponseBuilder builder;
    const shm::TensorEntry& input = table_.inputs()[0];
    builder.add_output(model_.outputs[0].name, 0, input.datatype, table_.shape(input),
                       {shm::Place::kRegion, input.region, input.offset, input.byte_size});
    const std::span<const uint8_t> bytes = builder.finish();
    response_.assign(bytes.begin(), bytes.end());
  }

  void encode() {
    if (!view_.parse(response_).ok()) std::abort();
    const FindBytes find =
        [this](const shm::TensorEntry& entry) -> std::optional<std::span<const uint8_t>> {
      return std::span<const uint8_t>(mapping_.data() + entry.offset, entry.byte_size);
    };
    if (!protocol::encode(model_, request_, view_, find, &encoded_).ok()) std::abort();
  }

  const char* name_;
  model::ModelSpec model_;
  size_t rounds_;
  shm::Mapping mapping_;
  std::optional<shm::Allocator> allocator_;
  OwnMemory memory_;
  std::string header_length_;
  BodyView body_;
  InferDecoder decoder_;
  DecodedRequest request_;
  std::span<const uint8_t> finished_;
  shm::RequestView table_;
  std::vector<uint8_t> response_;
  shm::ResponseView view_;
  EncodedResponse encoded_;
};

}  // namespace

int main() {
  std::printf("| %-34s | %8s | %8s | %8s |\n|---|---|---|---|\n", "body", "decode", "encode",
              "both, ns");
  Case(
      "16 floats, binary both ways", identity_model(),
      R"({"inputs":[{"name":"INPUT0","shape":[1,16],"datatype":"FP32","parameters":{"binary_data_size":64}}],)"
      R"("outputs":[{"name":"OUTPUT0","parameters":{"binary_data":true}}]})",
      std::string(64, 'x'), 200'000)
      .run();
  Case("16 floats, JSON both ways", identity_model(),
       R"({"inputs":[{"name":"INPUT0","shape":[1,16],"datatype":"FP32","data":[)" +
           json_floats(16) + "]}]}",
       "", 100'000)
      .run();
  Case("100,000 floats, JSON both ways", any_model(base::Datatype::kFp32),
       R"({"inputs":[{"name":"IN","shape":[100000],"datatype":"FP32","data":[)" +
           json_floats(100'000) + "]}]}",
       "", 20)
      .run();
  return 0;
}
