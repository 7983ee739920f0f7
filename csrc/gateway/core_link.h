// The way to core: one channel, our own region, and everybody else's regions to read from.
//
// A session lives as long as one core does. When core dies the gateway drops it; exchanges that are still writing an answer keep it (and
// with it every mapping) until they are done.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/fd.h"
#include "base/status.h"
#include "gateway/loop.h"
#include "shm/allocator.h"
#include "shm/channel.h"
#include "shm/peer.h"
#include "shm/region.h"

namespace pyserver::gateway {

struct CoreSession {
  CoreSession(shm::ChannelEnd end, shm::Mapping own, uint64_t keep_bytes)
      : channel(std::move(end)),
        region(std::move(own)),
        allocator(&region, region.size(), keep_bytes),
        peer(channel.peer()) {}

  template <typename T>
  void send(const T& message) {
    if (!lost) channel.send(shm::pack(message));
  }

  shm::ChannelEnd channel;
  shm::Mapping region;
  shm::Allocator allocator;
  shm::PeerRegions peers;
  uint32_t peer;
  bool lost = false;  // core is gone; nobody reads our records
};

using SessionRef = std::shared_ptr<CoreSession>;

class CoreLink final : public Watcher {
 public:
  explicit CoreLink(Loop* loop) : loop_(loop) {}
  ~CoreLink() override { detach(); }

  // `fds`: rings, core's bell, our bell, our own region; all stay the caller's, as does the control socket.
  base::Status attach(std::span<const int, 4> fds, int control_fd, uint64_t keep_bytes);
  // Core is gone.
  void detach();

  const SessionRef& session() const { return session_; }
  // Where {"op":"proxy"} goes.
  int control() const { return control_.get(); }

  // The doorbell only ends the wait; records are taken once per turn.
  void on_events(uint32_t) override {}

  bool try_take(shm::Record* record) {
    return session_ != nullptr && session_->channel.try_take(record);
  }
  bool has_records() const { return session_ != nullptr && session_->channel.has_records(); }
  void commit() { session_->channel.commit(); }
  // Publishes this turn's records. True: core does not keep up, call again soon.
  bool flush();
  // Announces that we are about to wait. False: do not, something has come.
  [[nodiscard]] bool sleep() { return session_ == nullptr || session_->channel.sleep(); }
  // Likewise, that the wait is over; see ChannelEnd::wake.
  uint64_t wake(uint64_t asleep_ns, uint64_t now_ns) {
    return session_ != nullptr ? session_->channel.wake(asleep_ns, now_ns) : 0;
  }

 private:
  Loop* loop_;
  SessionRef session_;
  base::UniqueFd control_;
};

}  // namespace pyserver::gateway
