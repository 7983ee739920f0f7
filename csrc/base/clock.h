// Monotonic and wall time as integers. Only loops call these; everything below them takes time as an argument.
#pragma once

#include <cstdint>
#include <ctime>

namespace pyserver::base {

inline uint64_t clock_ns(clockid_t id) {
  timespec now{};
  ::clock_gettime(id, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

// Comparable between processes of one machine.
inline uint64_t monotonic_ns() { return clock_ns(CLOCK_MONOTONIC); }
inline uint64_t wall_ms() { return clock_ns(CLOCK_REALTIME) / 1'000'000u; }

}  // namespace pyserver::base
