// Heads of frames, one after the other.
#include "gateway/h2/frame_cursor.h"

#include <algorithm>

namespace pyserver::gateway::h2 {

void FrameCursor::advance(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    if (left_ > 0) {
      const size_t step = std::min(left_, bytes.size());
      left_ -= step;
      bytes = bytes.subspan(step);
      continue;
    }
    const size_t step = std::min(kHeadBytes - head_size_, bytes.size());
    std::copy_n(bytes.data(), step, head_.data() + head_size_);
    head_size_ += step;
    bytes = bytes.subspan(step);
    if (head_size_ == kHeadBytes) read_head();
  }
}

void FrameCursor::read_head() {
  constexpr uint8_t kData = 0;
  constexpr uint8_t kPadded = 8;
  head_size_ = 0;
  left_ = size_t{head_[0]} << 16 | size_t{head_[1]} << 8 | head_[2];
  data_ = head_[3] == kData && (head_[4] & kPadded) == 0;
  const uint32_t id = uint32_t{head_[5]} << 24 | uint32_t{head_[6]} << 16 |
                      uint32_t{head_[7]} << 8 | uint32_t{head_[8]};
  stream_id_ = static_cast<int32_t>(id & 0x7fffffff);
}

}  // namespace pyserver::gateway::h2
