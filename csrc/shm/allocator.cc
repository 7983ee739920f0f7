// The region allocator: size classes inside 64 KiB chunks, runs of chunks for everything larger.
#include "shm/allocator.h"

#include <cstdio>
#include <cstdlib>
#include <iterator>

namespace pyserver::shm {

namespace {

[[noreturn]] void broken(const char* what, uint64_t offset) {
  std::fprintf(stderr, "pyserver: allocator: %s at offset %llu\n", what,
               static_cast<unsigned long long>(offset));
  std::abort();
}

// Each power of two from 64 on is divided into three steps, which wastes at most a third.
constexpr uint64_t kClassBytes[] = {64,   128,  192,  256,   320,   384,   448,   512,  640,  768,
                                    896,  1024, 1280, 1536,  1792,  2048,  2560,  3072, 4096, 5120,
                                    6144, 8192, 9344, 10880, 13056, 16384, 21824, 32768};

}  // namespace

Allocator::Allocator(const Mapping* mapping, uint64_t budget_bytes, uint64_t keep_bytes)
    : mapping_(mapping),
      budget_bytes_(budget_bytes),
      keep_bytes_(keep_bytes),
      total_chunks_(mapping->size() / kChunkBytes) {
  static_assert(std::size(kClassBytes) == kClassCount);
  static_assert(kClassBytes[kClassCount - 1] == kSmallLimit);
}

size_t Allocator::class_of(uint64_t bytes) {
  if (bytes <= 512) return bytes == 0 ? 0 : (bytes - 1) / 64;
  size_t low = 8;
  size_t high = kClassCount - 1;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (kClassBytes[middle] >= bytes) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

uint64_t Allocator::class_bytes(size_t size_class) { return kClassBytes[size_class]; }

std::optional<uint64_t> Allocator::allocate(uint64_t bytes) {
  if (bytes <= kSmallLimit) {
    const size_t size_class = class_of(bytes);
    if (used_bytes_ + class_bytes(size_class) > budget_bytes_) return std::nullopt;
    return allocate_small(size_class);
  }
  if (bytes > budget_bytes_ || used_bytes_ > budget_bytes_ - bytes) return std::nullopt;
  const uint64_t count = bytes / kChunkBytes + (bytes % kChunkBytes != 0 ? 1 : 0);
  std::optional<uint64_t> first = take_run(count);
  if (!first) {  // chunks of small blocks that are all free may be in the way
    collect_small();
    first = take_run(count);
  }
  if (!first) return std::nullopt;
  chunks_[*first] = Chunk{Use::kLargeHead, 0, 0, count};
  for (uint64_t rest = 1; rest < count; ++rest)
    chunks_[*first + rest] = Chunk{Use::kLargeRest, 0, 0, 0};
  used_bytes_ += count * kChunkBytes;
  ++live_blocks_;
  return *first * kChunkBytes;
}

std::optional<uint64_t> Allocator::allocate_small(size_t size_class) {
  std::vector<uint64_t>& list = free_blocks_[size_class];
  if (list.empty()) {
    std::optional<uint64_t> first = take_run(1);
    if (!first) {
      collect_small();
      first = take_run(1);
    }
    if (!first) return std::nullopt;
    chunks_[*first] = Chunk{Use::kSmall, static_cast<uint8_t>(size_class), 0, 1};
    const uint64_t block = class_bytes(size_class);
    const uint64_t base = *first * kChunkBytes;
    // Pushed from the end, so that blocks are handed out in rising order.
    for (uint64_t index = kChunkBytes / block; index-- > 0;) list.push_back(base + index * block);
  }
  const uint64_t offset = list.back();
  list.pop_back();
  ++chunks_[offset / kChunkBytes].live;
  used_bytes_ += class_bytes(size_class);
  ++live_blocks_;
  return offset;
}

void Allocator::free(uint64_t offset) {
  const uint64_t index = offset / kChunkBytes;
  if (index >= chunks_.size()) broken("free of what was never allocated", offset);
  Chunk& chunk = chunks_[index];
  if (chunk.use == Use::kSmall) {
    if (chunk.live == 0 || offset % kChunkBytes % class_bytes(chunk.size_class) != 0) {
      broken("free of what is not allocated", offset);
    }
    --chunk.live;
    --live_blocks_;
    used_bytes_ -= class_bytes(chunk.size_class);
    free_blocks_[chunk.size_class].push_back(offset);
    return;
  }
  if (chunk.use != Use::kLargeHead || offset % kChunkBytes != 0)
    broken("free of what is not allocated", offset);
  const uint64_t count = chunk.chunks;
  for (uint64_t rest = 0; rest < count; ++rest) chunks_[index + rest] = Chunk{};
  used_bytes_ -= count * kChunkBytes;
  --live_blocks_;
  return_run(index, count, true);
}

uint64_t Allocator::capacity(uint64_t offset) const {
  const uint64_t index = offset / kChunkBytes;
  if (index >= chunks_.size()) broken("capacity of what was never allocated", offset);
  const Chunk& chunk = chunks_[index];
  return chunk.use == Use::kSmall ? class_bytes(chunk.size_class) : chunk.chunks * kChunkBytes;
}

std::optional<uint64_t> Allocator::take_run(uint64_t chunks) {
  const auto found = free_by_length_.lower_bound({chunks, 0});
  if (found != free_by_length_.end()) {
    const auto run = free_runs_.find(found->second);
    const auto [first, state] = *run;
    const auto [length, dirty] = state;
    erase_free(run);
    if (length > chunks) insert_free(first + chunks, length - chunks, dirty);
    return first;
  }
  // A free run that ends where the fresh chunks begin is taken together with them.
  uint64_t first = fresh_chunk_;
  if (!free_runs_.empty()) {
    const auto last = std::prev(free_runs_.end());
    if (last->first + last->second.first == fresh_chunk_) first = last->first;
  }
  if (chunks > total_chunks_ - first) return std::nullopt;
  if (first != fresh_chunk_) erase_free(std::prev(free_runs_.end()));
  fresh_chunk_ = first + chunks;
  chunks_.resize(fresh_chunk_);
  return first;
}

void Allocator::insert_free(uint64_t first, uint64_t chunks, bool dirty) {
  free_runs_.emplace(first, std::make_pair(chunks, dirty));
  free_by_length_.emplace(chunks, first);
  if (dirty) dirty_bytes_ += chunks * kChunkBytes;
}

void Allocator::erase_free(std::map<uint64_t, std::pair<uint64_t, bool>>::iterator run) {
  free_by_length_.erase({run->second.first, run->first});
  if (run->second.second) dirty_bytes_ -= run->second.first * kChunkBytes;
  free_runs_.erase(run);
}

void Allocator::return_run(uint64_t first, uint64_t chunks, bool dirty) {
  auto next = free_runs_.lower_bound(first);
  if (next != free_runs_.end() && next->first == first + chunks) {
    chunks += next->second.first;
    dirty = dirty || next->second.second;
    auto gone = next++;
    erase_free(gone);
  }
  if (next != free_runs_.begin()) {
    auto previous = std::prev(next);
    if (previous->first + previous->second.first == first) {
      first = previous->first;
      chunks += previous->second.first;
      dirty = dirty || previous->second.second;
      erase_free(previous);
    }
  }
  if (dirty && dirty_bytes_ + chunks * kChunkBytes > keep_bytes_) {
    mapping_->release_pages(first * kChunkBytes, chunks * kChunkBytes);
    dirty = false;
  }
  insert_free(first, chunks, dirty);
}

void Allocator::collect_small() {
  for (auto& list : free_blocks_) {
    // Whole chunks without a live block go back to the runs; the others keep their free blocks.
    std::erase_if(list,
                  [this](uint64_t offset) { return chunks_[offset / kChunkBytes].live == 0; });
  }
  for (uint64_t index = 0; index < chunks_.size(); ++index) {
    Chunk& chunk = chunks_[index];
    if (chunk.use != Use::kSmall || chunk.live != 0) continue;
    chunk = Chunk{};
    return_run(index, 1, true);
  }
}

void Allocator::trim() {
  collect_small();
  for (auto& [first, state] : free_runs_) {
    if (!state.second) continue;
    mapping_->release_pages(first * kChunkBytes, state.first * kChunkBytes);
    dirty_bytes_ -= state.first * kChunkBytes;
    state.second = false;
  }
}

}  // namespace pyserver::shm
