// Where the bytes of a request's tensors are: behind the JSON in the body, or in blocks made for tensors that came in another form.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "protocol/infer_request.h"
#include "shm/table.h"

namespace pyserver::protocol {

// The binary data behind the JSON part, handed out front to back.
class BinarySection {
 public:
  BinarySection() = default;
  BinarySection(const OwnMemory& memory, uint64_t offset, uint64_t byte_size)
      : memory_(&memory), offset_(offset), left_(byte_size) {}

  uint64_t left() const { return left_; }

  // The next `bytes`; the caller has seen that so many are left.
  shm::Location take(uint64_t bytes) {
    const shm::Location place{shm::Place::kRegion, memory_->peer, offset_, bytes};
    offset_ += bytes;
    left_ -= bytes;
    return place;
  }

 private:
  const OwnMemory* memory_ = nullptr;
  uint64_t offset_ = 0;
  uint64_t left_ = 0;
};

// Makes blocks for such tensors and notes them in the request, which owns them.
class TensorMemory {
 public:
  TensorMemory(const OwnMemory& memory, std::vector<uint64_t>* blocks)
      : memory_(memory), blocks_(blocks), mark_(blocks->size()) {}

  // Null when the region is spent.
  uint8_t* take(uint64_t bytes, shm::Location* location) {
    const std::optional<uint64_t> offset = memory_.allocator->allocate(bytes);
    if (!offset) return nullptr;
    blocks_->push_back(*offset);
    *location = {shm::Place::kRegion, memory_.peer, *offset, bytes};
    return memory_.mapping->data() + *offset;
  }

  // Frees what was taken through this object.
  void give_back() {
    for (; blocks_->size() > mark_; blocks_->pop_back()) memory_.allocator->free(blocks_->back());
  }

  const OwnMemory& memory() const { return memory_; }

 private:
  const OwnMemory& memory_;
  std::vector<uint64_t>* blocks_;
  size_t mark_;
};

base::Status out_of_tensor_memory(std::string_view input, uint64_t bytes);
base::Status no_region(std::string_view region);

}  // namespace pyserver::protocol
