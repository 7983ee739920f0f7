// A client that has connected and with whom TLS is being agreed on; after that it becomes a Connection or an HTTP/2 session.
#pragma once

#include <cstdint>

#include "gateway/loop.h"
#include "gateway/socket.h"

namespace pyserver::gateway {

class Greeting;

struct GreetingOwner {
  // The client may speak; the greeting may be destroyed after this turn.
  virtual void greeted(Greeting* greeting, Socket socket) = 0;
  // It is no client of ours. Likewise.
  virtual void greeting_failed(Greeting* greeting) = 0;

 protected:
  ~GreetingOwner() = default;
};

class Greeting final : public Watcher {
 public:
  Greeting(Loop* loop, GreetingOwner* owner, Socket socket, uint32_t deadline_s)
      : loop_(loop), owner_(owner), socket_(std::move(socket)), deadline_s_(deadline_s) {}
  ~Greeting() override { loop_->forget(this); }

  base::Status watch();
  void on_events(uint32_t events) override;
  void sweep(uint32_t now_s) {
    if (now_s >= deadline_s_) close();
  }
  void close();

  size_t list_index = 0;  // in the gateway's list

 private:
  Loop* loop_;
  GreetingOwner* owner_;
  Socket socket_;
  const uint32_t deadline_s_;
};

}  // namespace pyserver::gateway
