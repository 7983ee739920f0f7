// Memory on a cache line's border that grows and is used again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace pyserver::instance {

class AlignedBuffer {
 public:
  // At least `byte_size` bytes, and never none. What was there is lost when it grows.
  uint8_t* reserve(uint64_t byte_size) {
    if (memory_ == nullptr || capacity_ < byte_size) {
      const uint64_t capacity =
          (std::max<uint64_t>(byte_size, 1) + kCacheLine - 1) / kCacheLine * kCacheLine;
      memory_.reset(static_cast<uint8_t*>(std::aligned_alloc(kCacheLine, capacity)));
      if (memory_ == nullptr) throw std::bad_alloc();
      capacity_ = capacity;
    }
    return memory_.get();
  }
  uint8_t* data() const { return memory_.get(); }
  uint64_t capacity() const { return capacity_; }

 private:
  static constexpr size_t kCacheLine = 64;
  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  std::unique_ptr<uint8_t, Free> memory_;
  uint64_t capacity_ = 0;
};

}  // namespace pyserver::instance
