// What a process that takes part in inference has: its own region with an allocator, and everybody else's regions to read from.
//
// PeerRegions is shared by all threads of a process; it is filled by the control socket before a record can name the peer (core waits
// for the acknowledgement), so a lookup that fails means a broken or retired peer. OwnRegion belongs to one peer of this process.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <unordered_map>

#include "base/status.h"
#include "shm/allocator.h"
#include "shm/region.h"

namespace pyserver::shm {

// A mapped region of another peer; whoever holds the pointer keeps it mapped.
using RegionRef = std::shared_ptr<const Mapping>;

class PeerRegions {
 public:
  base::Status add(uint32_t peer, int fd);
  // Forgets the peer: later lookups fail, the memory is unmapped when the last RegionRef is gone.
  void retire(uint32_t peer);
  RegionRef find(uint32_t peer) const;
  size_t size() const;

 private:
  mutable std::shared_mutex mutex_;
  std::unordered_map<uint32_t, RegionRef> regions_;
};

// Bytes of another peer's region after the check that they lie inside it; empty optional when they do not.
std::optional<std::span<const uint8_t>> bytes_at(const Mapping& region, uint64_t offset,
                                                 uint64_t length);

}  // namespace pyserver::shm
