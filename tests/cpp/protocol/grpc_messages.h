// Messages of gRPC put together by hand, and a region and a decoder to try them on.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bench_of_bodies.h"
#include "protocol/grpc/infer.h"

namespace pyserver::protocol::grpc {

inline std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// One field. A message is the sum of its fields.
inline std::string number_field(uint32_t field, uint64_t value) {
  return varint(field << 3) + varint(value);
}
inline std::string bytes_field(uint32_t field, std::string_view bytes) {
  return varint(field << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}
template <typename T>
std::string fixed_field(uint32_t field, T value) {
  return varint(field << 3 | (sizeof(T) == 4 ? 5 : 1)) + bytes_of(std::vector<T>{value});
}

// InferParameter
inline std::string bool_param(bool flag) { return number_field(1, flag ? 1 : 0); }
inline std::string int64_param(int64_t value) {
  return number_field(2, static_cast<uint64_t>(value));
}
inline std::string string_param(std::string_view text) { return bytes_field(3, text); }
inline std::string double_param(double value) { return fixed_field(4, value); }
inline std::string uint64_param(uint64_t value) { return number_field(5, value); }

inline std::string map_entry(std::string_view key, std::string_view value) {
  return bytes_field(1, key) + bytes_field(2, value);
}

// Fields of ModelInferRequest
inline std::string with_model(std::string_view name) { return bytes_field(1, name); }
inline std::string with_id(std::string_view id) { return bytes_field(3, id); }
inline std::string with_parameter(std::string_view key, std::string_view value) {
  return bytes_field(4, map_entry(key, value));
}
inline std::string with_input(std::string_view input) { return bytes_field(5, input); }
inline std::string with_output(std::string_view output) { return bytes_field(6, output); }
inline std::string with_raw(std::string_view bytes) { return bytes_field(7, bytes); }

// InferInputTensor without contents, to which fields 4 (parameters) and 5 (contents) may be added.
inline std::string tensor_of(std::string_view name, std::string_view datatype,
                             const std::vector<int64_t>& shape) {
  std::string packed;
  for (const int64_t dim : shape) packed += varint(static_cast<uint64_t>(dim));
  return bytes_field(1, name) + bytes_field(2, datatype) + bytes_field(3, packed);
}
inline std::string with_contents(std::string_view contents) { return bytes_field(5, contents); }
inline std::string with_tensor_parameter(std::string_view key, std::string_view value) {
  return bytes_field(4, map_entry(key, value));
}

// A request for identity_model() with its 16 floats.
inline std::string small_request() {
  std::vector<float> values;
  for (int index = 0; index < 16; ++index) values.push_back(static_cast<float>(index) * 0.5f);
  return with_model("identity") + with_id("r1") + with_input(tensor_of("INPUT0", "FP32", {1, 16})) +
         with_raw(bytes_of(values));
}

inline std::span<const uint8_t> span_of(std::string_view message) {
  return {reinterpret_cast<const uint8_t*>(message.data()), message.size()};
}

class BenchOfMessages {
 public:
  static constexpr uint32_t kPeer = 3;

  explicit BenchOfMessages(uint64_t region_bytes = 64 << 20) {
    base::UniqueFd fd;
    base::Status status = shm::make_memfd("messages", region_bytes, &fd);
    if (status.ok()) status = shm::Mapping::map(fd.get(), true, &mapping_);
    if (!status.ok()) std::abort();
    allocator_.emplace(&mapping_, mapping_.size(), mapping_.size());
    memory_ = {kPeer, &mapping_, &*allocator_};
  }
  ~BenchOfMessages() { forget(); }
  BenchOfMessages(const BenchOfMessages&) = delete;
  BenchOfMessages& operator=(const BenchOfMessages&) = delete;

  base::Status decode(const model::ModelSpec& model, std::string_view message) {
    forget();
    message_ = *allocator_->allocate(message.size());
    std::copy(message.begin(), message.end(), mapping_.data() + *message_);
    base::Status status = decoder.decode(model, {*message_, message.size()}, memory_, &request);
    if (!status.ok()) return status;
    return table.parse(request.table.finish());
  }

  std::string input_bytes(size_t index) const {
    const shm::TensorEntry& entry = table.inputs()[index];
    return {reinterpret_cast<const char*>(mapping_.data()) + entry.offset, entry.byte_size};
  }
  // Whether the bytes of an input are those of the message itself.
  bool lies_in_message(size_t index, size_t message_bytes) const {
    const shm::TensorEntry& entry = table.inputs()[index];
    return entry.offset >= *message_ && entry.offset + entry.byte_size <= *message_ + message_bytes;
  }

  void forget() {
    for (const uint64_t block : request.blocks) allocator_->free(block);
    request.clear();
    if (message_) allocator_->free(*message_);
    message_.reset();
  }

  shm::Allocator& allocator() { return *allocator_; }

  InferDecoder decoder;
  DecodedRequest request;
  shm::RequestView table;

 private:
  shm::Mapping mapping_;
  std::optional<shm::Allocator> allocator_;
  OwnMemory memory_;
  std::optional<uint64_t> message_;
};

// A response table over tensors in this process.
class MadeGrpcResponse : public MadeResponse {
 public:
  // `final`: in a stream.
  base::Status encode(const model::ModelSpec& model, const DecodedRequest& request,
                      std::optional<bool> final, EncodedMessage* out) {
    const std::span<const uint8_t> bytes = builder.finish();
    base::Status status = view_.parse(bytes);
    if (!status.ok()) return status;
    if (final) return encode_stream(model, request, view_, *final, find(), out);
    return grpc::encode(model, request, view_, find(), out);
  }

 private:
  shm::ResponseView view_;
};

inline std::string joined(const EncodedMessage& message) {
  std::string bytes;
  for (const std::span<const uint8_t> span : message.spans) {
    bytes.append(reinterpret_cast<const char*>(span.data()), span.size());
  }
  return bytes;
}

}  // namespace pyserver::protocol::grpc
