// Entries: copied in, found, forgotten, and their memory given back.
#include "engine/response_cache.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "shm/layout.h"

namespace pyserver::engine {

namespace {

constexpr uint32_t kMagic = 0x31435250;  // "PRC1"

// What stands before an entry's table and its tensors elsewhere. Offsets in the table count from the first tensor.
struct Head {
  uint32_t magic = kMagic;
  uint32_t table_bytes = 0;
  uint64_t data_bytes = 0;
};

uint64_t aligned(uint64_t bytes) {
  constexpr uint64_t kStep = shm::Allocator::kAlignment;
  return (bytes + kStep - 1) / kStep * kStep;
}

}  // namespace

ResponseCache::ResponseCache(shm::Mapping* region, shm::Allocator* memory, uint64_t budget_bytes)
    : region_(region), memory_(memory), budget_bytes_(budget_bytes) {}

CachedResponse* ResponseCache::find(const CacheKey& key) {
  ++figures_.lookups;
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  ++figures_.hits;
  entries_.splice(entries_.begin(), entries_, found->second);
  return &*found->second;
}

uint64_t ResponseCache::data_size(const shm::ResponseView& response) const {
  uint64_t bytes = 0;
  for (const shm::TensorEntry& output : response.outputs()) {
    if (output.byte_size > budget_bytes_) return budget_bytes_ + 1;
    bytes = std::min(bytes + aligned(output.byte_size), budget_bytes_ + 1);
  }
  return bytes;
}

std::span<const uint8_t> ResponseCache::build_table(const shm::ResponseView& response,
                                                    uint32_t region, uint64_t data_offset) const {
  builder_.clear();
  for (const shm::TensorEntry& output : response.outputs()) {
    builder_.add_output(response.text(output.name), output.index, output.datatype,
                        response.shape(output),
                        {shm::Place::kRegion, region, data_offset, output.byte_size});
    data_offset += aligned(output.byte_size);
  }
  for (const shm::ParameterEntry& entry : response.parameters())
    builder_.add_parameter(response.parameter(entry));
  return builder_.finish();
}

CachedResponse* ResponseCache::insert(const CacheKey& key, const shm::ResponseView& response,
                                      const FindBytes& find_bytes) {
  if (const auto known = by_key_.find(key); known != by_key_.end()) return &*known->second;
  const uint64_t data_bytes = data_size(response);
  const uint64_t table_bytes = build_table(response, shm::kCorePeer, 0).size();
  if (!make_room(data_bytes + aligned(table_bytes))) return nullptr;
  const std::optional<uint64_t> data = memory_->allocate(data_bytes);
  if (!data) return nullptr;
  uint64_t at = *data;
  for (const shm::TensorEntry& output : response.outputs()) {
    const std::optional<std::span<const uint8_t>> bytes = find_bytes(output);
    if (!bytes || bytes->size() != output.byte_size) {
      memory_->free(*data);
      return nullptr;
    }
    if (!bytes->empty()) std::memcpy(region_->data() + at, bytes->data(), bytes->size());
    // What lay there before is nobody's business.
    std::memset(region_->data() + at + output.byte_size, 0,
                aligned(output.byte_size) - output.byte_size);
    at += aligned(output.byte_size);
  }
  const std::optional<uint64_t> table = memory_->allocate(table_bytes);
  if (!table) {
    memory_->free(*data);
    return nullptr;
  }
  // Blocks are larger than what was asked for.
  const uint64_t held_bytes = memory_->capacity(*data) + memory_->capacity(*table);
  if (!make_room(held_bytes)) {
    memory_->free(*data);
    memory_->free(*table);
    return nullptr;
  }
  const std::span<const uint8_t> built = build_table(response, shm::kCorePeer, *data);
  std::memcpy(region_->data() + *table, built.data(), built.size());
  CachedResponse& entry = entries_.emplace_front();
  entry.key = key;
  entry.table_offset = *table;
  entry.table_bytes = static_cast<uint32_t>(table_bytes);
  entry.data_offset = *data;
  entry.data_bytes = data_bytes;
  entry.held_bytes = held_bytes;
  by_key_.emplace(key, entries_.begin());
  ++figures_.entries;
  figures_.bytes += entry.held_bytes;
  return &entry;
}

bool ResponseCache::make_room(uint64_t bytes) {
  if (bytes > budget_bytes_) return false;
  auto entry = entries_.end();
  while (figures_.bytes + bytes > budget_bytes_ && entry != entries_.begin()) {
    --entry;
    if (entry->pins > 0) continue;
    const auto old = entry++;
    ++figures_.evictions;
    forget(old);
  }
  return figures_.bytes + bytes <= budget_bytes_;
}

void ResponseCache::forget(List::iterator entry) {
  by_key_.erase(entry->key);
  --figures_.entries;
  entry->forgotten = true;
  forgotten_.splice(forgotten_.begin(), entries_, entry);
  if (entry->pins == 0) release(entry);
}

void ResponseCache::release(List::iterator entry) {
  memory_->free(entry->data_offset);
  memory_->free(entry->table_offset);
  figures_.bytes -= entry->held_bytes;
  forgotten_.erase(entry);
}

void ResponseCache::unpin(CachedResponse* entry) {
  if (--entry->pins > 0 || !entry->forgotten) return;
  // Few are forgotten while they are read.
  release(std::find_if(forgotten_.begin(), forgotten_.end(),
                       [&](const CachedResponse& one) { return &one == entry; }));
}

void ResponseCache::forget_model(uint32_t handle) {
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const auto one = entry++;
    if (one->key.model == handle) forget(one);
  }
}

std::string ResponseCache::to_bytes(const CachedResponse& entry) const {
  shm::ResponseView view;
  if (!view.parse(table(entry)).ok()) return {};
  const std::span<const uint8_t> moved = build_table(view, shm::kCorePeer, 0);
  Head head;
  head.table_bytes = static_cast<uint32_t>(moved.size());
  head.data_bytes = entry.data_bytes;
  std::string bytes(reinterpret_cast<const char*>(&head), sizeof head);
  bytes.append(reinterpret_cast<const char*>(moved.data()), moved.size());
  bytes.append(reinterpret_cast<const char*>(region_->data() + entry.data_offset),
               entry.data_bytes);
  return bytes;
}

CachedResponse* ResponseCache::insert_bytes(const CacheKey& key, std::string_view bytes) {
  Head head;
  if (bytes.size() < sizeof head) return nullptr;
  std::memcpy(&head, bytes.data(), sizeof head);
  const uint64_t rest = bytes.size() - sizeof head;
  if (head.magic != kMagic || head.table_bytes > rest || head.data_bytes != rest - head.table_bytes)
    return nullptr;
  const auto* table = reinterpret_cast<const uint8_t*>(bytes.data()) + sizeof head;
  shm::ResponseView view;
  if (!view.parse({table, head.table_bytes}).ok() || !view.message().empty()) return nullptr;
  const std::span<const uint8_t> data{table + head.table_bytes, head.data_bytes};
  return insert(key, view,
                [&](const shm::TensorEntry& output) -> std::optional<std::span<const uint8_t>> {
                  if (output.offset > data.size() || output.byte_size > data.size() - output.offset)
                    return std::nullopt;
                  return data.subspan(output.offset, output.byte_size);
                });
}

}  // namespace pyserver::engine
