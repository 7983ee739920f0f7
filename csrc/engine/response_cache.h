// Responses that were given once and are given again (spec/05 section 5.6), in core's own region, so that a frontend sends them from
// where they lie.
//
// The least recently used goes first. What somebody still reads is pinned: it may be forgotten, but its memory stays until the last
// reader is done. An entry belongs to one loaded version of a model, and goes with it.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>

#include "shm/allocator.h"
#include "shm/region.h"
#include "shm/table.h"

namespace pyserver::engine {

struct CacheKey {
  uint32_t model = 0;  // handle of the loaded version
  uint64_t low = 0;
  uint64_t high = 0;
  bool operator==(const CacheKey&) const = default;
};

struct CacheKeyHash {
  size_t operator()(const CacheKey& key) const { return key.low ^ key.model; }
};

struct CachedResponse {
  CacheKey key;
  uint64_t table_offset = 0;
  uint32_t table_bytes = 0;
  uint64_t data_offset = 0;  // all tensors, each on an allocator's alignment
  uint64_t data_bytes = 0;
  uint64_t held_bytes = 0;  // of the region
  uint32_t pins = 0;
  bool forgotten = false;
};

// Finds the bytes of a response's tensor; nothing where its place makes no sense.
using FindBytes = std::function<std::optional<std::span<const uint8_t>>(const shm::TensorEntry&)>;

class ResponseCache {
 public:
  struct Figures {
    uint64_t entries = 0;
    uint64_t bytes = 0;
    uint64_t lookups = 0;
    uint64_t hits = 0;
    uint64_t evictions = 0;
  };

  // Both must outlive the cache. `budget_bytes`: what entries may hold of the region together.
  ResponseCache(shm::Mapping* region, shm::Allocator* memory, uint64_t budget_bytes);

  // nullptr: not there.
  CachedResponse* find(const CacheKey& key);
  // Copies the response; nullptr when it is too large, makes no sense, or everything else is being read. One that is there stays.
  CachedResponse* insert(const CacheKey& key, const shm::ResponseView& response,
                         const FindBytes& find_bytes);
  void pin(CachedResponse* entry) { ++entry->pins; }
  void unpin(CachedResponse* entry);
  void forget_model(uint32_t handle);

  std::span<const uint8_t> table(const CachedResponse& entry) const {
    return {region_->data() + entry.table_offset, entry.table_bytes};
  }
  // An entry as bytes that mean the same elsewhere, and back. What does not parse is no entry.
  std::string to_bytes(const CachedResponse& entry) const;
  CachedResponse* insert_bytes(const CacheKey& key, std::string_view bytes);

  const Figures& figures() const { return figures_; }

 private:
  using List = std::list<CachedResponse>;

  bool make_room(uint64_t bytes);
  void forget(List::iterator entry);
  void release(List::iterator entry);
  uint64_t data_size(const shm::ResponseView& response) const;
  std::span<const uint8_t> build_table(const shm::ResponseView& response, uint32_t region,
                                       uint64_t data_offset) const;

  shm::Mapping* region_;
  shm::Allocator* memory_;
  uint64_t budget_bytes_;
  List entries_;    // the most recently used first
  List forgotten_;  // still read by somebody
  std::unordered_map<CacheKey, List::iterator, CacheKeyHash> by_key_;
  mutable shm::ResponseBuilder builder_;
  Figures figures_;
};

}  // namespace pyserver::engine
