// An instance's own region: blocks of it as reference-counted buffers, allocated and freed from any
// thread.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "base/status.h"
#include "shm/allocator.h"
#include "shm/region.h"

namespace pyserver::instance {

class Memory;

// A block of the own region. The memory is free again when the last reference is gone: the
// instance's own, and those of the responses that core has not handed back yet.
class Buffer {
 public:
  Buffer(std::shared_ptr<Memory> memory, uint64_t offset, uint64_t byte_size)
      : memory_(std::move(memory)), offset_(offset), byte_size_(byte_size) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();

  uint8_t* data() const;
  uint64_t offset() const { return offset_; }
  uint64_t byte_size() const { return byte_size_; }
  const Memory* memory() const { return memory_.get(); }

 private:
  std::shared_ptr<Memory> memory_;
  uint64_t offset_;
  uint64_t byte_size_;
};

using BufferRef = std::shared_ptr<Buffer>;

class Memory : public std::enable_shared_from_this<Memory> {
 public:
  // Maps the region for writing; `fd` stays the caller's.
  static base::Status open(uint32_t peer, int fd, uint64_t budget_bytes, uint64_t keep_bytes,
                           std::shared_ptr<Memory>* memory);

  // The peer whose region this is.
  uint32_t peer() const { return peer_; }
  uint8_t* data() const { return mapping_.data(); }
  const shm::Mapping& mapping() const { return mapping_; }

  // Nothing when the budget or the region is spent.
  BufferRef make_buffer(uint64_t byte_size);
  // The same without the reference count, for blocks whose life is one lease.
  [[nodiscard]] std::optional<uint64_t> allocate(uint64_t byte_size);
  void free(uint64_t offset);

  // Gives the pages of free memory back; for idle moments.
  void trim();
  uint64_t used_bytes() const;
  uint64_t live_blocks() const;
  uint64_t budget_bytes() const { return budget_bytes_; }

 private:
  Memory(uint32_t peer, shm::Mapping mapping, uint64_t budget_bytes, uint64_t keep_bytes);

  const uint32_t peer_;
  const uint64_t budget_bytes_;
  shm::Mapping mapping_;
  mutable std::mutex mutex_;  // the innermost lock: nothing else is taken while it is held
  shm::Allocator allocator_;
};

}  // namespace pyserver::instance
