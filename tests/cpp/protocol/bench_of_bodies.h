// A region, a decoder and the models that bodies are tried on.
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "model/spec.h"
#include "protocol/http_infer.h"
#include "shm/allocator.h"
#include "shm/region.h"
#include "shm/table.h"

namespace pyserver::protocol {

inline model::TensorSpec tensor(std::string name, base::Datatype datatype,
                                std::vector<int64_t> dims) {
  model::TensorSpec spec;
  spec.name = std::move(name);
  spec.datatype = datatype;
  spec.dims = std::move(dims);
  return spec;
}

inline model::ModelSpec make_model(std::string name, int32_t max_batch_size,
                                   std::vector<model::TensorSpec> inputs,
                                   std::vector<model::TensorSpec> outputs) {
  model::ModelSpec spec;
  spec.name = std::move(name);
  spec.version = 1;
  spec.version_text = "1";
  spec.handle = 7;
  spec.max_batch_size = max_batch_size;
  spec.inputs = std::move(inputs);
  spec.outputs = std::move(outputs);
  return spec;
}

// One FP32 input of 16 and one output, in batches of up to 8.
inline model::ModelSpec identity_model() {
  using base::Datatype;
  return make_model("identity", 8, {tensor("INPUT0", Datatype::kFp32, {16})},
                    {tensor("OUTPUT0", Datatype::kFp32, {16})});
}

// Any shape of one datatype, without batches.
inline model::ModelSpec any_model(base::Datatype datatype) {
  return make_model("any", 0, {tensor("IN", datatype, {-1})}, {tensor("OUT", datatype, {-1})});
}

class BenchOfBodies {
 public:
  static constexpr uint32_t kPeer = 3;

  BenchOfBodies() {
    base::UniqueFd fd;
    base::Status status = shm::make_memfd("bodies", 64 << 20, &fd);
    if (status.ok()) status = shm::Mapping::map(fd.get(), true, &mapping_);
    if (!status.ok()) std::abort();
    allocator_.emplace(&mapping_, mapping_.size(), mapping_.size());
    memory_ = {kPeer, &mapping_, &*allocator_};
  }
  ~BenchOfBodies() { forget(); }
  BenchOfBodies(const BenchOfBodies&) = delete;
  BenchOfBodies& operator=(const BenchOfBodies&) = delete;

  // Decodes `json` followed by `binary`. `padding` is what may be read behind them.
  base::Status decode(const model::ModelSpec& model, std::string_view json,
                      std::string_view binary = {}, uint64_t padding = 64) {
    const std::string length = std::to_string(json.size());
    return decode_body(model, std::string(json) + std::string(binary), length, padding);
  }

  base::Status decode_body(const model::ModelSpec& model, std::string_view body,
                           std::optional<std::string_view> header_length, uint64_t padding = 64) {
    forget();
    body_ = *allocator_->allocate(body.size() + padding);
    std::memcpy(mapping_.data() + *body_, body.data(), body.size());
    std::memset(mapping_.data() + *body_ + body.size(), 'x', padding);
    BodyView view{*body_, body.size(), body.size() + padding, header_length, max_input_bytes};
    base::Status status = decoder.decode(model, view, memory_, &request);
    if (!status.ok()) return status;
    return table.parse(request.table.finish());
  }

  // The bytes of the decoded request's input.
  std::string input_bytes(size_t index) const {
    const shm::TensorEntry& entry = table.inputs()[index];
    return {reinterpret_cast<const char*>(mapping_.data()) + entry.offset, entry.byte_size};
  }
  template <typename T>
  std::vector<T> input_values(size_t index) const {
    const std::string bytes = input_bytes(index);
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

  void forget() {
    for (const uint64_t block : request.blocks) allocator_->free(block);
    request.clear();
    if (body_) allocator_->free(*body_);
    body_.reset();
  }

  const shm::Mapping& mapping() const { return mapping_; }
  shm::Allocator& allocator() { return *allocator_; }

  InferDecoder decoder;
  DecodedRequest request;
  shm::RequestView table;
  uint64_t max_input_bytes = 0;

 private:
  shm::Mapping mapping_;
  std::optional<shm::Allocator> allocator_;
  OwnMemory memory_;
  std::optional<uint64_t> body_;
};

// A response table over tensors in this process, and the way to find them.
class MadeResponse {
 public:
  void add(std::string_view name, uint16_t index, base::Datatype datatype,
           std::vector<int64_t> shape, std::string bytes) {
    const shm::Location place{shm::Place::kRegion, 9, tensors_.size(), bytes.size()};
    builder.add_output(name, index, datatype, shape, place);
    tensors_.push_back(std::move(bytes));
  }
  template <typename T>
  void add_values(std::string_view name, uint16_t index, base::Datatype datatype,
                  std::vector<int64_t> shape, const std::vector<T>& values) {
    add(name, index, datatype, std::move(shape),
        {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
  }

  base::Status encode(const model::ModelSpec& model, const DecodedRequest& request,
                      EncodedResponse* out) {
    if (finished_.empty()) finished_ = builder.finish();
    base::Status status = view_.parse(finished_);
    if (!status.ok()) return status;
    return protocol::encode(model, request, view_, find(), out);
  }
  FindBytes find() const {
    return [this](const shm::TensorEntry& entry) -> std::optional<std::span<const uint8_t>> {
      if (entry.offset >= tensors_.size()) return std::nullopt;
      const std::string& bytes = tensors_[entry.offset];
      return std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    };
  }

  shm::ResponseBuilder builder;

 private:
  std::vector<std::string> tensors_;
  std::span<const uint8_t> finished_;
  shm::ResponseView view_;
};

}  // namespace pyserver::protocol
