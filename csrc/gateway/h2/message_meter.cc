// Prefixes and sizes.
#include "gateway/h2/message_meter.h"

#include <algorithm>
#include <string>

namespace pyserver::gateway::h2 {

base::Status MessageMeter::take(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    if (prefix_size_ < prefix_.size()) {
      const size_t step = std::min(bytes.size(), prefix_.size() - prefix_size_);
      std::copy_n(bytes.data(), step, prefix_.data() + prefix_size_);
      prefix_size_ += step;
      bytes = bytes.subspan(step);
      if (prefix_size_ < prefix_.size()) return {};
      base::Status status = begin();
      if (!status.ok()) return status;
    } else {
      const size_t step = std::min<uint64_t>(bytes.size(), left_);
      left_ -= step;
      if (inflater_ != nullptr) inflate(bytes.first(step));
      if (inflated_ > limit_) return too_large(inflated_);
      bytes = bytes.subspan(step);
    }
    if (left_ > 0) continue;
    prefix_size_ = 0;
    ++message_count_;
  }
  return {};
}

base::Status MessageMeter::begin() {
  // The first byte is core's to judge; the length behind it counts in any case.
  prefix_[0] = std::min<uint8_t>(prefix_[0], 1);
  const auto prefix = protocol::grpc::parse_prefix(prefix_);
  left_ = prefix->byte_size;
  inflated_ = 0;
  inflater_.reset();
  if (left_ > limit_) return too_large(left_);
  if (prefix->compressed && (encoding_ == Encoding::kGzip || encoding_ == Encoding::kDeflate))
    inflater_ = std::make_unique<Inflater>(encoding_);
  return {};
}

void MessageMeter::inflate(std::span<const uint8_t> bytes) {
  const base::Status status = inflater_->feed(bytes, [this](std::span<const uint8_t> piece) {
    inflated_ += piece.size();
    return inflated_ > limit_ ? too_large(inflated_) : base::Status();
  });
  if (!status.ok()) inflater_.reset();  // broken: core fails at the same byte
}

base::Status MessageMeter::too_large(uint64_t bytes) const {
  return base::invalid_argument("Received message larger than max (" + std::to_string(bytes) +
                                " vs. " + std::to_string(limit_) + "); see --http-max-input-size");
}

}  // namespace pyserver::gateway::h2
