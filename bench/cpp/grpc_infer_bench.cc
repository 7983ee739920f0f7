// How long one request's decode() and encode() take over gRPC: CPU nanoseconds per round, best of several runs.
//
//   cmake -S csrc -B BUILD -G Ninja && cmake --build BUILD --target pyserver_protocol
//   g++ -std=c++20 -O2 -I csrc -I tests/cpp bench/cpp/grpc_infer_bench.cc BUILD/libpyserver_{protocol,model,shm}.a -lsimdjson
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "protocol/grpc_messages.h"

namespace {

using namespace pyserver;
using namespace pyserver::protocol;

uint64_t cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

class Case {
 public:
  Case(const char* name, model::ModelSpec model, const std::string& message, size_t rounds)
      : name_(name), model_(std::move(model)), rounds_(rounds) {
    base::UniqueFd fd;
    if (!shm::make_memfd("bench", 256 << 20, &fd).ok()) std::abort();
    if (!shm::Mapping::map(fd.get(), true, &mapping_).ok()) std::abort();
    allocator_.emplace(&mapping_, mapping_.size(), mapping_.size());
    memory_ = {3, &mapping_, &*allocator_};
    message_ = {*allocator_->allocate(message.size()), message.size()};
    std::memcpy(mapping_.data() + message_.offset, message.data(), message.size());
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
  // What a gateway does with a message: peek, decode, lay the table out, forget it.
  void decode() {
    for (const uint64_t block : request_.blocks) allocator_->free(block);
    request_.clear();
    grpc::RequestHead head;
    if (!grpc::peek({mapping_.data() + message_.offset, message_.byte_size}, &head).ok())
      std::abort();
    if (!decoder_.decode(model_, message_, memory_, &request_).ok()) std::abort();
    finished_ = request_.table.finish();
  }

  // Identity: the request's own bytes.
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
    if (!grpc::encode(model_, request_, view_, find, &encoded_).ok()) std::abort();
  }

  const char* name_;
  model::ModelSpec model_;
  size_t rounds_;
  shm::Mapping mapping_;
  std::optional<shm::Allocator> allocator_;
  OwnMemory memory_;
  grpc::MessageView message_;
  grpc::InferDecoder decoder_;
  grpc::DecodedRequest request_;
  std::span<const uint8_t> finished_;
  shm::RequestView table_;
  std::vector<uint8_t> response_;
  shm::ResponseView view_;
  grpc::EncodedMessage encoded_;
};

std::string typed(const char* datatype, int64_t count, const std::string& contents) {
  return grpc::with_model("any") +
         grpc::with_input(grpc::tensor_of("IN", datatype, {count}) + grpc::with_contents(contents));
}

}  // namespace

int main() {
  std::printf("| %-34s | %8s | %8s | %8s |\n|---|---|---|---|\n", "message", "decode", "encode",
              "both, ns");
  Case("16 floats, raw", identity_model(),
       grpc::small_request() + grpc::with_output(grpc::bytes_field(1, "OUTPUT0")), 200'000)
      .run();
  Case("16 floats, typed", any_model(base::Datatype::kFp32),
       typed("FP32", 16, grpc::bytes_field(6, std::string(64, 'x'))), 100'000)
      .run();
  std::string whole_numbers;
  for (uint64_t value = 0; value < 100'000; ++value) whole_numbers += grpc::varint(value);
  Case("100,000 integers, typed", any_model(base::Datatype::kInt32),
       typed("INT32", 100'000, grpc::bytes_field(2, whole_numbers)), 100)
      .run();
  std::string strings;
  for (int index = 0; index < 100'000; ++index) strings += grpc::bytes_field(8, "text");
  Case("100,000 strings, typed", any_model(base::Datatype::kBytes),
       typed("BYTES", 100'000, strings), 50)
      .run();
  return 0;
}
