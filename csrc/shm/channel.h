// A channel: the two rings between one peer and core, with their doorbells.
//
// Core makes the channel (ChannelFds::make), keeps one ChannelEnd for its side and sends the descriptors to the peer, which opens the
// other end. An end belongs to one thread.
#pragma once

#include <cstdint>
#include <deque>

#include "base/fd.h"
#include "base/status.h"
#include "shm/layout.h"
#include "shm/region.h"
#include "shm/ring.h"

namespace pyserver::shm {

struct ChannelFds {
  base::UniqueFd rings;      // memfd of kChannelBytes
  base::UniqueFd core_bell;  // eventfd that the peer rings for core
  base::UniqueFd peer_bell;  // eventfd that core rings for the peer

  static base::Status make(uint32_t peer, uint64_t region_bytes, bool busy_poll, ChannelFds* fds);
};

enum class Side : uint8_t { kCore, kPeer };

class ChannelEnd {
 public:
  // Duplicates the descriptors; `fds` stays the caller's.
  static base::Status open(const ChannelFds& fds, Side side, ChannelEnd* end);

  uint32_t peer() const { return peer_; }
  uint64_t region_bytes() const { return region_bytes_; }
  // Core allows loops to look on before they sleep.
  bool busy_poll() const { return busy_poll_; }

  // Queues a record; it never fails and never waits: what does not fit into the ring waits in this process and follows in order.
  void send(const Record& record);
  // Publishes what was queued and rings if the other side sleeps. Call once after a run of sends.
  void flush();
  // How many records wait here because the other side does not read.
  size_t backlog() const { return backlog_.size(); }

  bool try_take(Record* record) { return reader_.try_take(record); }
  bool has_records() const { return reader_.has_records(); }
  void commit() { reader_.commit(); }
  [[nodiscard]] bool sleep() { return reader_.sleep(); }
  void wake() { reader_.wake(); }
  // Likewise, after a sleep that began at `asleep_ns`: how long ago the other side rang for it, 0 if it did not.
  uint64_t wake(uint64_t asleep_ns, uint64_t now_ns) {
    reader_.wake();
    const uint64_t rung_ns = reader_.rung_ns();
    return rung_ns > asleep_ns && rung_ns < now_ns ? now_ns - rung_ns : 0;
  }
  bool broken() const { return reader_.broken(); }

  // The eventfd on which this side is rung. Watch it edge-triggered; it need not be read.
  int bell() const { return own_bell_.get(); }

 private:
  void put_backlog();

  uint32_t peer_ = 0;
  uint64_t region_bytes_ = 0;
  bool busy_poll_ = false;
  Mapping rings_;
  RingWriter writer_;
  RingReader reader_;
  base::UniqueFd own_bell_;
  base::UniqueFd other_bell_;
  std::deque<Record> backlog_;
  bool dirty_ = false;
};

}  // namespace pyserver::shm
