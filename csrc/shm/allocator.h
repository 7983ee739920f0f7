// Allocates places in a region. Its books are on the owner's heap, where no other process can spoil them.
//
// Small blocks (up to kSmallLimit) come from 64 KiB chunks of one size class each, with a free list per class; large ones are whole
// runs of chunks, best fit, joined again when freed. Offsets are multiples of 64. Memory that was freed is kept warm up to
// `keep_bytes`; beyond that its pages go back to the system.
//
// Thread safety: none; a region has one owner thread or one owner lock.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "shm/region.h"

namespace pyserver::shm {

class Allocator {
 public:
  static constexpr uint64_t kChunkBytes = 65536;
  static constexpr uint64_t kSmallLimit = 32768;
  static constexpr uint64_t kAlignment = 64;

  // `budget_bytes`: what may be in use at once; `keep_bytes`: how much freed memory stays warm. The mapping must outlive the allocator.
  Allocator(const Mapping* mapping, uint64_t budget_bytes, uint64_t keep_bytes);

  // The offset of `bytes` (0 counts as 1) bytes, or nothing when the budget or the region is spent.
  [[nodiscard]] std::optional<uint64_t> allocate(uint64_t bytes);
  // `offset` must have come from allocate() and not been freed since: anything else is our own bug and aborts.
  void free(uint64_t offset);

  // How many bytes the block at `offset` can hold.
  uint64_t capacity(uint64_t offset) const;

  // Gives the pages of all free memory back; for idle moments.
  void trim();

  uint64_t used_bytes() const { return used_bytes_; }
  uint64_t live_blocks() const { return live_blocks_; }

 private:
  static constexpr size_t kClassCount = 28;
  enum class Use : uint8_t { kFree, kSmall, kLargeHead, kLargeRest };
  struct Chunk {
    Use use = Use::kFree;
    uint8_t size_class = 0;
    uint16_t live = 0;    // blocks in use, of a small chunk
    uint64_t chunks = 0;  // length of the run, of a large head
  };

  static size_t class_of(uint64_t bytes);
  static uint64_t class_bytes(size_t size_class);
  std::optional<uint64_t> allocate_small(size_t size_class);
  // Makes runs of the chunks whose small blocks are all free.
  void collect_small();
  std::optional<uint64_t> take_run(uint64_t chunks);
  void return_run(uint64_t first, uint64_t chunks, bool dirty);
  void insert_free(uint64_t first, uint64_t chunks, bool dirty);
  void erase_free(std::map<uint64_t, std::pair<uint64_t, bool>>::iterator run);

  const Mapping* mapping_;
  uint64_t budget_bytes_;
  uint64_t keep_bytes_;
  uint64_t total_chunks_;
  uint64_t fresh_chunk_ = 0;  // chunks from here on were never used
  uint64_t used_bytes_ = 0;
  uint64_t live_blocks_ = 0;
  uint64_t dirty_bytes_ = 0;  // freed but still holding pages
  std::vector<Chunk> chunks_;
  std::array<std::vector<uint64_t>, kClassCount> free_blocks_;
  std::map<uint64_t, std::pair<uint64_t, bool>> free_runs_;  // first chunk -> (length, dirty)
  std::set<std::pair<uint64_t, uint64_t>> free_by_length_;   // (length, first chunk)
};

}  // namespace pyserver::shm
