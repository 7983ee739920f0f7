// The engine's loop: poll, dispatch, flush, and sleep when nobody talks.
#include "engine/runner.h"

#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <string>
#include <utility>

#include "base/clock.h"

namespace pyserver::engine {

namespace {

constexpr size_t kRecordsPerPoll = 512;
constexpr uint64_t kSoonNs = 500'000;  // how long to wait for a peer that does not empty its ring
constexpr int kMaxEvents = 64;
constexpr uint32_t kTurnsPerLook = 8;

void ring(int bell) {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(bell, &one, sizeof one);
}

base::Status system_error(const char* what) {
  return base::internal_error(std::string(what) + ": " + std::strerror(errno));
}

bool watch(int epoll, int fd, void* data) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.ptr = data;
  return ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

struct Runner::Command {
  const std::function<void(Engine&, uint64_t)>* run;
  std::mutex mutex;
  std::condition_variable over;
  bool done = false;
};

base::Status Runner::make(uint64_t region_bytes, uint64_t budget_bytes, uint64_t cache_bytes,
                          bool busy_poll, std::unique_ptr<Runner>* runner) {
  std::unique_ptr<Runner> made(new Runner());
  base::Status status = shm::make_memfd("pyserver-region-core", region_bytes, &made->region_fd_);
  shm::Mapping region;
  if (status.ok()) status = shm::Mapping::map(made->region_fd_.get(), true, &region);
  if (!status.ok()) return status;
  made->spin_wait_ = base::SpinWait(busy_poll);
  made->epoll_ = base::UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  made->command_bell_ = base::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  made->event_bell_ = base::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!made->epoll_.valid() || !made->command_bell_.valid() || !made->event_bell_.valid() ||
      !watch(made->epoll_.get(), made->command_bell_.get(), nullptr)) {
    return system_error("cannot set up the engine's loop");
  }
  made->engine_ = std::make_unique<Engine>(std::move(region), budget_bytes, cache_bytes);
  *runner = std::move(made);
  return {};
}

Runner::~Runner() { stop(); }

void Runner::start() {
  stopping_.store(false, std::memory_order_relaxed);
  thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "engine");
    loop();
  });
}

void Runner::stop() {
  if (!thread_.joinable()) return;
  stopping_.store(true, std::memory_order_relaxed);  // the eventfd's system calls order it
  ring(command_bell_.get());
  thread_.join();
}

void Runner::call(const std::function<void(Engine&, uint64_t)>& command) {
  if (!thread_.joinable()) {  // not started yet, or stopped: nobody else touches the engine
    command(*engine_, base::monotonic_ns());
    publish_events();
    return;
  }
  Command entry{&command, {}, {}, false};
  {
    const std::lock_guard lock(command_mutex_);
    commands_.push_back(&entry);
  }
  ring(command_bell_.get());
  std::unique_lock lock(entry.mutex);
  entry.over.wait(lock, [&entry] { return entry.done; });
}

base::Status Runner::make_peer(PeerKind kind, uint64_t region_bytes, PeerFds* fds) {
  PeerFds made;
  made.id = next_peer_.fetch_add(1, std::memory_order_relaxed);
  base::Status status =
      shm::ChannelFds::make(made.id, region_bytes, spin_wait_.enabled(), &made.channel);
  if (status.ok()) {
    status =
        shm::make_memfd("pyserver-region-" + std::to_string(made.id), region_bytes, &made.region);
  }
  shm::ChannelEnd end;
  if (status.ok()) status = shm::ChannelEnd::open(made.channel, shm::Side::kCore, &end);
  shm::Mapping region;
  if (status.ok()) status = shm::Mapping::map(made.region.get(), false, &region);
  if (!status.ok()) return status;
  call([&](Engine& engine, uint64_t) {
    Peer* peer = engine.add_peer(made.id, kind, std::move(end), std::move(region));
    if (!watch(epoll_.get(), peer->channel.bell(), peer))
      status = system_error("cannot watch a doorbell");
    active_.push_back(peer);  // the next turn puts it to sleep properly
  });
  if (status.ok()) *fds = std::move(made);
  return status;
}

void Runner::retire_peer(uint32_t id, const std::string& message) {
  call([&](Engine& engine, uint64_t now_ns) {
    Peer* peer = engine.peer(id);
    if (peer == nullptr) return;
    // What it had put into its ring before it died counts: answers that are complete reach their clients.
    engine.poll(peer, shm::kRingCapacity, now_ns);
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, peer->channel.bell(), nullptr);
    std::erase(active_, peer);
    engine.retire_peer(id, message, now_ns);
  });
}

void Runner::drain_model(uint32_t handle) {
  call([&](Engine& engine, uint64_t now_ns) {
    engine.poll_all(now_ns);  // peers that sleep may have rung, and not been looked at yet
    engine.drain_model(handle);
  });
}

base::Status Runner::warm_up(uint32_t handle, uint32_t peer, const WarmUp& sample) {
  base::Status status;
  SourceRef memory;
  std::span<uint8_t> tensors;
  call([&](Engine& engine, uint64_t) {
    status = engine.reserve(sample.byte_size(), &memory, &tensors);
  });
  if (!status.ok()) return status;
  sample.fill(tensors);
  call([&](Engine& engine, uint64_t now_ns) {
    status = engine.warm_up(handle, peer, sample, memory, now_ns);
    memory.reset();
  });
  return status;
}

std::vector<Event> Runner::take_events() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t taken = ::read(event_bell_.get(), &count, sizeof count);
  const std::lock_guard lock(event_mutex_);
  return std::exchange(events_, {});
}

void Runner::publish_events() {
  std::vector<Event> fresh = engine_->take_events();
  if (fresh.empty()) return;
  {
    const std::lock_guard lock(event_mutex_);
    std::move(fresh.begin(), fresh.end(), std::back_inserter(events_));
  }
  ring(event_bell_.get());
}

void Runner::run_commands(uint64_t now_ns) {
  std::vector<Command*> due;
  {
    const std::lock_guard lock(command_mutex_);
    due.swap(commands_);
  }
  for (Command* command : due) {
    (*command->run)(*engine_, now_ns);
    // Notified under the lock: the entry lives on the caller's stack and is gone as soon as the caller sees `done`.
    const std::lock_guard lock(command->mutex);
    command->done = true;
    command->over.notify_one();
  }
}

void Runner::activate(Peer* peer) {
  if (std::find(active_.begin(), active_.end(), peer) == active_.end()) active_.push_back(peer);
}

bool Runner::turn(uint64_t now_ns) {
  bool busy = false;
  for (size_t index = 0; index < active_.size(); ++index) {
    busy |= engine_->poll(active_[index], kRecordsPerPoll, now_ns) > 0;
  }
  engine_->dispatch(now_ns);
  return busy;
}

// Puts every active peer to sleep; false when one of them had something to say after all.
bool Runner::sleep_all() {
  std::erase_if(active_, [](Peer* peer) {
    if (peer->broken || peer->channel.sleep()) return true;
    peer->channel.wake();
    return false;
  });
  return active_.empty();
}

void Runner::wait(uint64_t now_ns, uint64_t until_ns) {
  timespec timeout{};
  if (until_ns != sched::kNever) {
    const uint64_t rest_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    timeout.tv_sec = static_cast<time_t>(rest_ns / 1'000'000'000);
    timeout.tv_nsec = static_cast<long>(rest_ns % 1'000'000'000);
  }
  const bool sleeps = until_ns > now_ns;
  epoll_event events[kMaxEvents];
  // By number, because older C libraries lack the wrapper; batching delays need its microseconds.
  const long count = ::syscall(SYS_epoll_pwait2, epoll_.get(), events, kMaxEvents,
                               until_ns == sched::kNever ? nullptr : &timeout, nullptr, 0);
  const uint64_t woken_ns = base::monotonic_ns();
  for (long index = 0; index < count; ++index) {
    Peer* const peer = static_cast<Peer*>(events[index].data.ptr);
    if (peer == nullptr) continue;
    const uint64_t wakeup_ns = peer->channel.wake(now_ns, woken_ns);
    if (sleeps) spin_wait_.woken_after(wakeup_ns);
    activate(peer);
  }
}

void Runner::loop() {
  uint32_t busy_turns = 0;
  while (!stopping_.load(std::memory_order_relaxed)) {
    const uint64_t now_ns = base::monotonic_ns();
    run_commands(now_ns);
    const bool busy = turn(now_ns);
    const bool soon = engine_->flush();
    publish_events();
    const uint64_t over_ns = base::monotonic_ns();
    if (busy) spin_wait_.found(over_ns);
    const bool looks_again = !busy && spin_wait_.look_again(over_ns, engine_->executing());
    if (looks_again) ::sched_yield();
    if (busy || looks_again || !sleep_all()) {
      // Peers that sleep may have rung while others keep the loop busy: a look now and then.
      if (++busy_turns % kTurnsPerLook == 0) wait(now_ns, now_ns);
      continue;
    }
    const uint64_t asleep_ns = base::monotonic_ns();
    wait(asleep_ns, soon ? std::min(engine_->wake_ns(), asleep_ns + kSoonNs) : engine_->wake_ns());
  }
  run_commands(base::monotonic_ns());
}

}  // namespace pyserver::engine
