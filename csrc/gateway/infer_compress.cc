// Compressed answers to inference: a slice per turn of the loop, so that a large answer does not stop everybody else.
#include <algorithm>

#include "gateway/infer.h"

namespace pyserver::gateway {

namespace {

constexpr size_t kSliceBytes = 256 * 1024;

}  // namespace

InferExchange::~InferExchange() { service_->host_->loop.forget(this); }

void InferExchange::start_compressing() {
  deflater_.emplace(answer_encoding_);
  compressed_.clear();
  compressed_parts_ = 0;
  compressed_offset_ = 0;
  on_events(0);
}

// The next bytes of the answer, at most a slice; empty at the end.
std::span<const uint8_t> InferExchange::next_slice() {
  while (compressed_parts_ <= encoded_.binary.size()) {
    const std::span<const uint8_t> part =
        compressed_parts_ == 0 ? std::span(reinterpret_cast<const uint8_t*>(encoded_.json.data()),
                                           encoded_.json.size())
                               : encoded_.binary[compressed_parts_ - 1];
    if (compressed_offset_ == part.size()) {
      ++compressed_parts_;
      compressed_offset_ = 0;
      continue;
    }
    const size_t size = std::min(kSliceBytes, part.size() - compressed_offset_);
    compressed_offset_ += size;
    return part.subspan(compressed_offset_ - size, size);
  }
  return {};
}

void InferExchange::on_events(uint32_t) {
  if (connection_ == nullptr || !deflater_) return;
  bool good = true;
  bool ended = false;
  for (size_t taken = 0; good && !ended && taken < kSliceBytes;) {
    const std::span<const uint8_t> slice = next_slice();
    taken += slice.size();
    ended = slice.empty();
    good = deflater_->feed(slice, ended, &compressed_);
  }
  if (good && !ended) {
    service_->host_->loop.again(this);
    return;
  }
  deflater_.reset();
  if (!good) {  // as Triton does: what cannot be compressed is sent as it is
    answer_encoding_ = Encoding::kIdentity;
    send_answer();
    return;
  }
  parts_.clear();
  parts_.push_back({compressed_.data(), compressed_.size()});
  reply(compressed_.size());
}

}  // namespace pyserver::gateway
