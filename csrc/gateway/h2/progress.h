// Whether bytes that are due come, or go, fast enough. Looked at once a second.
#pragma once

#include <cstdint>

#include "gateway/settings.h"

namespace pyserver::gateway::h2 {

class Progress {
 public:
  explicit Progress(uint32_t now_s) : since_s_(now_s) {}

  void moved(uint64_t bytes) { bytes_ += bytes; }
  // What was due has come, or nothing is.
  void restart(uint32_t now_s) {
    bytes_ = 0;
    since_s_ = now_s;
  }
  // Fewer than kMinProgressBytes in a whole time-out.
  bool stalled(uint32_t now_s, uint32_t timeout_s) {
    if (now_s < since_s_ + timeout_s) return false;
    if (bytes_ < kMinProgressBytes) return true;
    restart(now_s);
    return false;
  }

 private:
  uint64_t bytes_ = 0;
  uint32_t since_s_;
};

}  // namespace pyserver::gateway::h2
