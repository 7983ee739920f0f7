// The engine's thread: sleeps until a peer rings, a timer is due or the control plane has a command, and then drives the Engine.
//
// Peers are polled only while they are active. A peer that has been quiet for a turn is put to sleep (its ring's `asleep` word is
// set), so the cost of a turn depends on who talks, not on how many peers there are.
//
// Thread safety: call() and take_events() may be used from any thread; everything else belongs to the runner's own.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/spin_wait.h"
#include "base/status.h"
#include "engine/engine.h"

namespace pyserver::engine {

class Runner {
 public:
  // `busy_poll`: this loop and those of all peers may look on before they sleep (base/spin_wait.h).
  // `cache_bytes` of the budget are the response cache's.
  static base::Status make(uint64_t region_bytes, uint64_t budget_bytes, uint64_t cache_bytes,
                           bool busy_poll, std::unique_ptr<Runner>* runner);
  ~Runner();

  void start();
  void stop();

  // Runs `command` in the engine's thread between two turns and waits for it.
  void call(const std::function<void(Engine&, uint64_t now_ns)>& command);

  struct PeerFds {
    uint32_t id = 0;
    shm::ChannelFds channel;
    base::UniqueFd region;
  };
  // Makes the channel and the region of a new peer; the descriptors are for the peer.
  base::Status make_peer(PeerKind kind, uint64_t region_bytes, PeerFds* fds);
  void retire_peer(uint32_t id, const std::string& message);
  // Engine::drain_model, when what lies in the peers' rings by now has been taken in: it is no newcomer.
  void drain_model(uint32_t handle);
  // Engine::warm_up; the sample's tensors are written here, not in the engine's thread.
  base::Status warm_up(uint32_t handle, uint32_t peer, const WarmUp& sample);

  std::vector<Event> take_events();
  int event_fd() const { return event_bell_.get(); }
  int region_fd() const { return region_fd_.get(); }

 private:
  Runner() = default;
  void loop();
  bool turn(uint64_t now_ns);
  bool sleep_all();
  void wait(uint64_t now_ns, uint64_t until_ns);
  void run_commands(uint64_t now_ns);
  void publish_events();
  void activate(Peer* peer);

  base::UniqueFd region_fd_;
  base::UniqueFd epoll_;
  base::UniqueFd command_bell_;
  base::UniqueFd event_bell_;
  std::unique_ptr<Engine> engine_;
  std::vector<Peer*> active_;

  base::SpinWait spin_wait_;
  std::thread thread_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint32_t> next_peer_{1};

  struct Command;
  std::mutex command_mutex_;
  std::vector<Command*> commands_;
  std::mutex event_mutex_;
  std::vector<Event> events_;
};

}  // namespace pyserver::engine
