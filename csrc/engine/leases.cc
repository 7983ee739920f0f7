// Leases: who still reads which response's memory. A lease ends by the holder's Return or by its death, once.
#include "engine/engine.h"

namespace pyserver::engine {

// An owner of nullptr is core itself (`cookie` is then an offset in core's own region) when the lease is made.
uint64_t Engine::make_lease(Peer* owner, Peer* holder, uint64_t cookie) {
  uint32_t slot = free_lease_;
  if (slot != 0) {
    free_lease_ = leases_[slot].next;
  } else {
    slot = static_cast<uint32_t>(leases_.size());
    leases_.emplace_back();
  }
  Lease& lease = leases_[slot];
  lease.owner = owner;
  lease.core_owned = owner == nullptr;
  lease.holder = holder;
  lease.cookie = cookie;
  lease.next = holder->leases;
  lease.previous = 0;
  if (holder->leases != 0) leases_[holder->leases].previous = slot;
  holder->leases = slot;
  ++counters_.live_leases;
  return uint64_t{lease.generation} << 32 | slot;
}

void Engine::end_lease(uint32_t slot) {
  Lease& lease = leases_[slot];
  if (lease.previous != 0) {
    leases_[lease.previous].next = lease.next;
  } else {
    lease.holder->leases = lease.next;
  }
  if (lease.next != 0) leases_[lease.next].previous = lease.previous;
  if (lease.cached != nullptr) {
    cache_->unpin(lease.cached);
  } else if (lease.core_owned) {
    own_memory_.free(lease.cookie);
  } else if (lease.owner != nullptr) {
    return_to(lease.owner, lease.cookie);
  }
  const std::vector<SourceRef> sources = std::move(lease.sources);
  const uint32_t generation = lease.generation + 1;
  lease = Lease{};
  lease.generation = generation;
  lease.next = free_lease_;
  free_lease_ = slot;
  --counters_.live_leases;
}

// What the lease kept is kept by the source from now on.
SourceRef Engine::lease_as_source(uint32_t slot) {
  Lease& lease = leases_[slot];
  SourceRef made;
  if (lease.cached != nullptr) {
    made = std::make_shared<Source>(this, Source::Kind::kCached, shm::kCorePeer,
                                    reinterpret_cast<uintptr_t>(lease.cached));
  } else if (lease.core_owned) {
    made = std::make_shared<Source>(this, Source::Kind::kOwn, shm::kCorePeer, lease.cookie);
  } else if (lease.owner != nullptr) {
    made = std::make_shared<Source>(this, Source::Kind::kResponse, lease.owner->id, lease.cookie);
  }
  if (made != nullptr) made->under = std::move(lease.sources);
  lease.cached = nullptr;
  lease.core_owned = false;
  lease.owner = nullptr;
  end_lease(slot);
  return made;
}

void Engine::return_to(Peer* owner, uint64_t cookie) {
  shm::Returned returned;
  returned.cookie = cookie;
  send(owner, shm::pack(returned));
}

}  // namespace pyserver::engine
