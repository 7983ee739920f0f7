// The frontend's event loop: sockets in front, core behind, everything in one thread.
//
//   clients ──> Listener ──> Connection ──Policy──> InferService ──CoreLink──> core
//                                  │                                 (rings)
//                                  └────Policy──> ProxyService ──socket pairs──> core's HTTP application
//
// Thread safety: everything belongs to the thread that calls run() or turn(), except stop().
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/spin_wait.h"
#include "base/status.h"
#include "gateway/connection.h"
#include "gateway/core_link.h"
#include "gateway/greeting.h"
#include "gateway/h2/server.h"
#include "gateway/host.h"
#include "gateway/infer.h"
#include "gateway/listener.h"
#include "gateway/owned_list.h"
#include "gateway/policy.h"
#include "gateway/proxy.h"
#include "gateway/tls.h"
#include "gateway/waiting_room.h"
#include "model/catalog.h"

namespace pyserver::gateway {

class Gateway final : public Host, public GreetingOwner {
 public:
  explicit Gateway(const GatewaySettings& gateway_settings);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  base::Status open();

  // --- what the control sockets say ---
  // A listening socket; it accepts from the first serve() on. With `tls` its clients must speak that.
  void add_listener(base::UniqueFd fd, const Entrance& entrance = {},
                    std::shared_ptr<const TlsContext> tls = nullptr);
  // A new core: its channel (rings, core's bell, our bell, our region) and the control socket to it. Descriptors stay the caller's.
  base::Status attach(std::span<const int, 4> fds, int control_fd);
  base::Status add_region(uint32_t peer, int fd);
  void retire(uint32_t peer);
  // Core's gRPC service: an O_PATH descriptor of its socket.
  void attach_grpc(base::UniqueFd link_fd) { grpc_.connect_to(std::move(link_fd)); }
  base::Status apply_model(std::string_view json);
  void forget_model(std::string_view name);
  // A model that was wanted was not loaded.
  void refuse_model(std::string_view name, const base::Status& reason);
  // `wants(name)` hears, between two turns, of a model that requests wait for; once until core says something of it.
  void on_want(std::function<void(const std::string&)> wants) { wants_ = std::move(wants); }
  void set_live(bool live) { live_ = live; }
  // The catalog is complete: requests are taken.
  base::Status serve();
  // Core is gone: what is under way is answered 503, and what comes too, until another core was attached and serve() called.
  void core_lost();
  // Takes nothing new; `drained` is called once, from the loop, when all is answered.
  void drain(std::function<void()> drained);
  // No request that a stream of inference may still bring will be taken: those in which nothing is under way end, now and later.
  void end_streams() { grpc_.end_streams(); }
  uint64_t channel_peer() const { return link_.session() != nullptr ? link_.session()->peer : 0; }

  // --- the loop ---
  void run();
  // Ends run(). From any thread.
  void stop();
  // One turn; waits at most `max_wait_ms` (-1: as long as nothing happens).
  void turn(int max_wait_ms);
  // What happens once a second: ends what took too long, by this clock (tests let time pass with it).
  void sweep_at(uint32_t second);

  // A client that is connected already (also used by tests: any stream socket).
  void adopt(Socket socket);
  // Likewise, who has TLS to agree on first.
  void greet(Socket socket);
  Counters snapshot() const;
  // Bytes of our region in use.
  uint64_t used_bytes() const {
    return link_.session() != nullptr ? link_.session()->allocator.used_bytes() : 0;
  }
  uint64_t live_blocks() const {
    return link_.session() != nullptr ? link_.session()->allocator.live_blocks() : 0;
  }

  // --- Host ---
  Exchange* begin(Connection* connection, const RequestHead& head, Refusal* refusal) override;
  void begin_http2(Socket socket, std::span<const uint8_t> received) override;
  void connection_closed(Connection* connection) override;

  // --- GreetingOwner ---
  void greeted(Greeting* greeting, Socket socket) override;
  void greeting_failed(Greeting* greeting) override;

 private:
  class Waker final : public Watcher {
   public:
    base::UniqueFd fd;
    void on_events(uint32_t events) override;
  };

  size_t client_count() const {
    return greetings_.size() + connections_.size() + grpc_.connection_count();
  }
  // Until there is something to do; how many events there are.
  size_t wait(int max_wait_ms);
  bool take_records();
  void update_time();
  void tell_wants();
  void retry_listeners();
  void give_back_memory();
  void check_drained();
  int wait_ms(int max_wait_ms) const;
  Exchange* begin_live(const RequestHead& head, Refusal* refusal) const;

  const Policy policy_;
  Waker waker_;
  std::atomic<bool> stopping_{false};
  model::Catalog catalog_;
  CoreLink link_;
  WaitingRoom waiting_room_;
  InferService infer_;
  ProxyService proxy_;
  h2::Server grpc_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  OwnedList<Greeting> greetings_;
  OwnedList<Connection> connections_;
  std::vector<std::unique_ptr<Watcher>> buried_;
  std::function<void()> drained_;
  std::function<void(const std::string&)> wants_;
  bool live_ = true;
  bool serving_ = false;
  base::SpinWait spin_wait_;
  bool busy_ = false;     // the last turn had work
  bool backlog_ = false;  // core does not keep up
  bool early_ = false;    // a listening socket does not listen yet
  uint64_t next_sweep_ns_ = 0;
  uint64_t seen_requests_ = 0;  // at the last sweep
  uint32_t idle_sweeps_ = 0;
};

}  // namespace pyserver::gateway
