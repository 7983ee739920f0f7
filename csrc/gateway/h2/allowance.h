// How much of what serves nothing a client may send: so much at once, and then as it comes back with time and with work done.
#pragma once

#include <algorithm>
#include <cstdint>

namespace pyserver::gateway::h2 {

class Allowance {
 public:
  Allowance(uint64_t most, uint64_t per_second)
      : most_(most), per_second_(per_second), left_(most) {}

  // False: there is nothing left.
  bool spend(uint64_t now_ns) {
    constexpr uint64_t kSecondNs = 1'000'000'000;
    if (since_ns_ == 0) since_ns_ = now_ns;
    if (left_ == 0) {
      // Only now: while something is left, spending is a decrement.
      const uint64_t seconds = (now_ns - since_ns_) / kSecondNs;
      earn(std::min(seconds, most_) * per_second_);
      since_ns_ += seconds * kSecondNs;
    }
    if (left_ == 0) return false;
    --left_;
    return true;
  }
  void earn(uint64_t amount) { left_ = std::min(most_, left_ + amount); }

 private:
  uint64_t most_;
  uint64_t per_second_;
  uint64_t left_;
  uint64_t since_ns_ = 0;  // until when what comes with time has been added
};

}  // namespace pyserver::gateway::h2
