// The table of mapped regions of a process.
#include "shm/peer.h"

namespace pyserver::shm {

base::Status PeerRegions::add(uint32_t peer, int fd) {
  Mapping mapping;
  const base::Status status = Mapping::map(fd, false, &mapping);
  if (!status.ok()) return status;
  const std::unique_lock lock(mutex_);
  regions_[peer] = std::make_shared<const Mapping>(std::move(mapping));
  return {};
}

void PeerRegions::retire(uint32_t peer) {
  RegionRef last;  // declared before the lock, so that the unmapping happens after it
  const std::unique_lock lock(mutex_);
  const auto found = regions_.find(peer);
  if (found == regions_.end()) return;
  last = std::move(found->second);
  regions_.erase(found);
}

RegionRef PeerRegions::find(uint32_t peer) const {
  const std::shared_lock lock(mutex_);
  const auto found = regions_.find(peer);
  return found == regions_.end() ? nullptr : found->second;
}

size_t PeerRegions::size() const {
  const std::shared_lock lock(mutex_);
  return regions_.size();
}

std::optional<std::span<const uint8_t>> bytes_at(const Mapping& region, uint64_t offset,
                                                 uint64_t length) {
  if (!region.contains(offset, length)) return std::nullopt;
  return std::span<const uint8_t>(region.data() + offset, length);
}

}  // namespace pyserver::shm
