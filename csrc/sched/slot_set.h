// A set of small numbers: which slots of an instance have something to run. Adding, removing and finding the next one cost the same
// however many slots there are: each bit of a word says whether a word of the layer below has any.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace pyserver::sched {

class SlotSet {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // Holds numbers below `size`; empty afterwards.
  void reset(uint32_t size) {
    layers_.clear();
    size_ = size;
    count_ = 0;
    size_t words = size;
    do {
      words = (words + 63) / 64;
      layers_.emplace_back(words, 0);
    } while (words > 1);
  }

  size_t count() const { return count_; }

  // A number that is already there is not added again.
  void add(uint32_t number) {
    if ((layers_[0][number / 64] >> (number % 64) & 1) != 0) return;
    ++count_;
    for (std::vector<uint64_t>& layer : layers_) {
      layer[number / 64] |= uint64_t{1} << (number % 64);
      number /= 64;
    }
  }

  void remove(uint32_t number) {
    if ((layers_[0][number / 64] >> (number % 64) & 1) == 0) return;
    --count_;
    for (std::vector<uint64_t>& layer : layers_) {
      layer[number / 64] &= ~(uint64_t{1} << (number % 64));
      if (layer[number / 64] != 0) return;
      number /= 64;
    }
  }

  // The lowest number that is at least `from`, or kNone.
  uint32_t next(uint32_t from) const {
    if (from >= size_) return kNone;
    for (size_t height = 0; height < layers_.size(); ++height) {
      const std::vector<uint64_t>& layer = layers_[height];
      if (from / 64 >= layer.size()) return kNone;
      const uint64_t rest = layer[from / 64] >> (from % 64);
      if (rest != 0)
        return lowest_below(height, from + static_cast<uint32_t>(std::countr_zero(rest)));
      from = from / 64 + 1;
    }
    return kNone;
  }

 private:
  uint32_t lowest_below(size_t height, uint32_t number) const {
    for (; height > 0; --height) {
      const uint64_t word = layers_[height - 1][number];
      number = number * 64 + static_cast<uint32_t>(std::countr_zero(word));
    }
    return number;
  }

  std::vector<std::vector<uint64_t>> layers_;  // the numbers themselves first
  uint32_t size_ = 0;
  size_t count_ = 0;
};

}  // namespace pyserver::sched
