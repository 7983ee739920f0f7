// A part of an answer: bytes that stay where they are until they are written.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pyserver::gateway::h2 {

// Whoever makes it keeps the bytes that `spans` name alive as long as itself.
struct Chunk {
  virtual ~Chunk() = default;
  std::vector<std::span<const uint8_t>> spans;

  size_t byte_size() const {
    size_t sum = 0;
    for (const std::span<const uint8_t> span : spans) sum += span.size();
    return sum;
  }
};

}  // namespace pyserver::gateway::h2
