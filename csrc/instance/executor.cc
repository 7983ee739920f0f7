// Reading core's records, sleeping on the doorbell, and making believed requests out of Execute
// records.
#include "instance/executor.h"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include "base/clock.h"

namespace pyserver::instance {

namespace {

// How much freed memory stays warm in a region, and after how long without work even that is given
// back.
constexpr uint64_t kKeepBytes = uint64_t{64} << 20;
constexpr uint64_t kIdleNs = 2'000'000'000;
// How soon to try again when core's ring is full.
constexpr uint64_t kBacklogRetryNs = 1'000'000;

base::Status system_error(const char* what) {
  return base::internal_error(std::string(what) + ": " + std::strerror(errno));
}

}  // namespace

base::Status Executor::open(const shm::ChannelFds& fds, int region_fd,
                            std::shared_ptr<const shm::PeerRegions> regions, uint64_t budget_bytes,
                            std::unique_ptr<Executor>* executor) {
  std::unique_ptr<Executor> made(new Executor);
  made->regions_ = std::move(regions);
  base::Status status = Link::open(fds, region_fd, budget_bytes, kKeepBytes, &made->link_);
  if (status.ok()) status = made->make_waiter();
  if (!status.ok()) return status;
  made->spin_wait_ = base::SpinWait(made->link_->channel().busy_poll());
  made->calls_ = std::make_shared<Calls>(made->link_, made->regions_);
  *executor = std::move(made);
  return status;
}

base::Status Executor::make_waiter() {
  wake_ = base::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  waiter_ = base::UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  call_waiter_ = base::UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event edge{};  // a sleep does not read `bell`: each ring is an edge
  edge.events = EPOLLIN | EPOLLET;
  epoll_event level{};  // `wake_` stays readable: nobody sleeps after it
  level.events = EPOLLIN;
  const int bell = link_->channel().bell();
  if (!wake_.valid() || !waiter_.valid() || !call_waiter_.valid() ||
      ::epoll_ctl(waiter_.get(), EPOLL_CTL_ADD, bell, &edge) != 0 ||
      ::epoll_ctl(waiter_.get(), EPOLL_CTL_ADD, wake_.get(), &level) != 0 ||
      ::epoll_ctl(call_waiter_.get(), EPOLL_CTL_ADD, bell, &edge) != 0) {
    return system_error("cannot watch the doorbell");
  }
  return {};
}

Wait Executor::next_batch(uint64_t timeout_ns, Batch* batch) {
  const uint64_t begin = base::monotonic_ns();
  const uint64_t deadline = timeout_ns > kForever - begin ? kForever : begin + timeout_ns;
  std::unique_lock lock(read_mutex_);
  while (true) {
    const Wait wait = read_until(lock, deadline, true, [this] { return has_whole_batch(); });
    if (wait != Wait::kBatch) return wait;
    Arrived arrived = std::move(arrived_.front());
    arrived_.pop_front();
    const bool admitted = admit(arrived, batch);
    spare_ = std::move(arrived.requests);
    if (admitted) return Wait::kBatch;
  }
}

template <typename Over>
Wait Executor::read_until(std::unique_lock<std::mutex>& lock, uint64_t deadline_ns, bool for_batch,
                          const Over& over) {
  shm::ChannelEnd& channel = link_->channel();
  bool reads = false;
  const auto leave = [&](Wait wait) {
    if (reads) {
      reading_ = false;
      if (waiting_ > 0) turn_.notify_all();
    }
    watch_for_loops();
    return wait;
  };
  while (true) {
    const uint64_t now = base::monotonic_ns();
    take_records();
    if (over()) {
      if (reads || !reading_) spin_wait_.found(now);
      return leave(Wait::kBatch);
    }
    if (channel.broken() || deaf_) return leave(Wait::kBroken);
    if (for_batch && stopping_.load(std::memory_order_acquire)) return leave(Wait::kStopped);
    if (now >= deadline_ns) return leave(Wait::kTimeout);
    if (!reads && reading_) {
      ++waiting_;
      if (deadline_ns == kForever) {
        turn_.wait(lock);
      } else {
        turn_.wait_for(lock, std::chrono::nanoseconds(deadline_ns - now));
      }
      --waiting_;
      continue;
    }
    reads = reading_ = true;
    stop_ringing(now);
    const bool looks_again = spin_wait_.look_again(now, !for_batch);
    // Within the lock, so that nobody polls between the last look and the declaration of sleep.
    const bool may_sleep = !looks_again && channel.sleep();
    lock.unlock();
    if (looks_again) {
      ::sched_yield();
    } else if (may_sleep) {
      for_batch ? wait(deadline_ns - now) : wait_for_bell();
    }
    lock.lock();
    if (!looks_again) spin_wait_.woken_after(channel.wake(now, base::monotonic_ns()));
  }
}

bool Executor::wait_for(const Call& call) {
  if (call.ready()) return true;
  std::unique_lock lock(read_mutex_);
  return read_until(lock, kForever, false, [&] { return call.ready(); }) == Wait::kBatch;
}

uint64_t Executor::current_batch(bool any_thread) const {
  const bool here =
      any_thread || executing_thread_.load(std::memory_order_relaxed) == std::this_thread::get_id();
  return here ? current_batch_.load(std::memory_order_relaxed) : 0;
}

void Executor::wait_for_bell() {
  const bool stuck = link_->backlog() > 0;
  epoll_event event;
  const int count = ::epoll_wait(call_waiter_.get(), &event, 1,
                                 stuck ? static_cast<int>(kBacklogRetryNs / 1'000'000) : -1);
  if (count < 0 && errno != EINTR) deaf_ = true;
  if (stuck) link_->flush();
}

void Executor::wait(uint64_t timeout_ns) {
  uint64_t nap = timeout_ns;
  const bool stuck = link_->backlog() > 0;
  if (stuck) nap = std::min(nap, kBacklogRetryNs);
  if (!idle_) nap = std::min(nap, kIdleNs);
  const int milliseconds =
      nap == kForever ? -1
                      : static_cast<int>(std::min<uint64_t>((nap + 999'999) / 1'000'000, 1 << 30));
  epoll_event events[2];
  const int count = ::epoll_wait(waiter_.get(), events, 2, milliseconds);
  // The model has closed our descriptors, or put others in their place.
  if (count < 0 && errno != EINTR) deaf_ = true;
  if (stuck) link_->flush();
  if (count == 0 && !idle_ && nap == kIdleNs) {
    link_->memory()->trim();
    idle_ = true;
  }
}

void Executor::take_records() {
  shm::ChannelEnd& channel = link_->channel();
  shm::Record record;
  bool took = false;
  while (channel.try_take(&record)) {
    take_record(record);
    took = true;
  }
  if (!took) return;
  channel.commit();
  if (waiting_ > 0) turn_.notify_all();
}

void Executor::take_record(const shm::Record& record) {
  switch (record.kind) {
    case shm::Kind::kBatch:
      arrived_.push_back(Arrived{shm::unpack<shm::BatchHead>(record), std::move(spare_)});
      arrived_.back().requests.clear();
      break;
    case shm::Kind::kExecute:
      // Without a head, or beyond its count, it belongs to nothing.
      if (!arrived_.empty() &&
          arrived_.back().requests.size() < arrived_.back().head.request_count) {
        arrived_.back().requests.push_back(shm::unpack<shm::Execute>(record));
      }
      break;
    case shm::Kind::kReturned:
      link_->returned(shm::unpack<shm::Returned>(record).cookie);
      break;
    case shm::Kind::kCancelled: {
      const uint64_t ticket = shm::unpack<shm::Cancelled>(record).ticket;
      link_->cancelled(ticket);
      for (const Arrived& arrived : arrived_) {
        for (const shm::Execute& request : arrived.requests) {
          if (request.ticket == ticket) cancelled_early_.push_back(ticket);
        }
      }
      break;
    }
    case shm::Kind::kReply:
      calls_->replied(shm::unpack<shm::Reply>(record));
      break;
    case shm::Kind::kReleased:
      calls_->released(shm::unpack<shm::Released>(record).ticket);
      break;
    default:
      break;  // a later core's word; an instance of today has no use for it
  }
}

bool Executor::has_whole_batch() const {
  return !arrived_.empty() &&
         arrived_.front().requests.size() >= arrived_.front().head.request_count;
}

bool Executor::admit(const Arrived& arrived, Batch* batch) {
  idle_ = false;
  batch->id = arrived.head.batch;
  batch->batch_size = 0;
  batch->requests.clear();
  batch->start_ns = base::monotonic_ns();
  batch->input_end_ns = 0;
  batch->output_start_ns = 0;
  for (const shm::Execute& record : arrived.requests) {
    RequestRef request = link_->make_request(record);
    const base::Status status = request->resolve(*regions_, controls_);
    if (!status.ok()) {
      link_->fail(*request, status);
      continue;
    }
    const auto early = std::find(cancelled_early_.begin(), cancelled_early_.end(), record.ticket);
    if (early != cancelled_early_.end()) {
      cancelled_early_.erase(early);
      link_->cancelled(record.ticket);
    }
    batch->batch_size += record.batch_size;
    batch->requests.push_back(std::move(request));
  }
  executing_thread_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  current_batch_.store(batch->id, std::memory_order_relaxed);
  if (!batch->requests.empty()) return true;
  done(batch);
  return false;
}

void Executor::done(Batch* batch) {
  current_batch_.store(0, std::memory_order_relaxed);
  shm::BatchDone record;
  record.batch = batch->id;
  record.compute_start_ns = batch->start_ns;
  record.compute_end_ns = base::monotonic_ns();
  record.compute_input_end_ns = batch->input_end_ns != 0 ? batch->input_end_ns : batch->start_ns;
  record.compute_output_start_ns =
      batch->output_start_ns != 0 ? batch->output_start_ns : record.compute_end_ns;
  link_->send_batch_done(record);
  link_->flush();
  batch->requests.clear();
}

void Executor::poll() {
  const std::unique_lock lock(read_mutex_, std::try_to_lock);
  if (lock.owns_lock()) take_records();  // else somebody is reading already
}

// The thread that waits in next_batch() may be this very one, so this one looks for itself, too.
void Executor::wait_for_room(const Request& request) {
  constexpr uint64_t kFirstNapNs = 100'000;
  constexpr uint64_t kLongestNapNs = 5'000'000;
  if (!link_->crowded(request)) return;
  link_->flush();
  for (uint64_t nap = kFirstNapNs; !stopping_.load(std::memory_order_acquire);
       nap = std::min(2 * nap, kLongestNapNs)) {
    poll();
    if (!link_->crowded(request) || link_->channel().broken()) return;
    link_->wait_for_return(nap);
  }
}

void Executor::stop() {
  {
    const std::lock_guard lock(read_mutex_);  // whoever is about to wait for another reader sees it
    stopping_.store(true, std::memory_order_release);
    turn_.notify_all();
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
}

}  // namespace pyserver::instance
