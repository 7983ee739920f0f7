// One listening socket.
#pragma once

#include <functional>

#include "base/fd.h"
#include "gateway/loop.h"

namespace pyserver::gateway {

class Listener final : public Watcher {
 public:
  // What to do with a new connection. False: no room, stop accepting until start() is called again.
  using Accept = std::function<bool(base::UniqueFd)>;

  Listener(Loop* loop, base::UniqueFd fd, Accept accept)
      : loop_(loop), fd_(std::move(fd)), accept_(std::move(accept)) {}
  ~Listener() override;

  base::Status start();
  // Connections wait in the kernel's backlog meanwhile.
  void stop();
  bool running() const { return running_; }
  // The supervisor has not called listen() yet (or ends the server): start() it again in a moment.
  bool too_early() const { return too_early_; }

  void on_events(uint32_t events) override;

 private:
  base::Status watch();
  void give_way();

  Loop* loop_;
  base::UniqueFd fd_;
  Accept accept_;
  bool running_ = false;
  bool too_early_ = false;
  bool shared_ = false;  // with the other frontends
};

}  // namespace pyserver::gateway
