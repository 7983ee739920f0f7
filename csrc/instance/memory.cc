// The own region behind one lock, and buffers that give their block back.
#include "instance/memory.h"

#include <utility>

namespace pyserver::instance {

Buffer::~Buffer() { memory_->free(offset_); }

uint8_t* Buffer::data() const { return memory_->data() + offset_; }

Memory::Memory(uint32_t peer, shm::Mapping mapping, uint64_t budget_bytes, uint64_t keep_bytes)
    : peer_(peer),
      budget_bytes_(budget_bytes),
      mapping_(std::move(mapping)),
      allocator_(&mapping_, budget_bytes, keep_bytes) {}

base::Status Memory::open(uint32_t peer, int fd, uint64_t budget_bytes, uint64_t keep_bytes,
                          std::shared_ptr<Memory>* memory) {
  shm::Mapping mapping;
  const base::Status status = shm::Mapping::map(fd, true, &mapping);
  if (!status.ok()) return status;
  memory->reset(new Memory(peer, std::move(mapping), budget_bytes, keep_bytes));
  return {};
}

BufferRef Memory::make_buffer(uint64_t byte_size) {
  const std::optional<uint64_t> offset = allocate(byte_size);
  if (!offset) return nullptr;
  return std::make_shared<Buffer>(shared_from_this(), *offset, byte_size);
}

std::optional<uint64_t> Memory::allocate(uint64_t byte_size) {
  const std::lock_guard lock(mutex_);
  return allocator_.allocate(byte_size);
}

void Memory::free(uint64_t offset) {
  const std::lock_guard lock(mutex_);
  allocator_.free(offset);
}

void Memory::trim() {
  const std::lock_guard lock(mutex_);
  allocator_.trim();
}

uint64_t Memory::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return allocator_.used_bytes();
}

uint64_t Memory::live_blocks() const {
  const std::lock_guard lock(mutex_);
  return allocator_.live_blocks();
}

}  // namespace pyserver::instance
