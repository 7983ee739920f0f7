// epoll, and the queue of those who go on without waiting.
#include "gateway/loop.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace pyserver::gateway {

base::Status Loop::open() {
  epoll_ = base::UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (epoll_.valid()) return {};
  return base::internal_error(std::string("cannot create an epoll: ") + std::strerror(errno));
}

base::Status Loop::watch(int fd, uint32_t events, Watcher* watcher) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = watcher;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return base::internal_error(std::string("cannot watch a descriptor: ") + std::strerror(errno));
}

void Loop::unwatch(int fd) { ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void Loop::again(Watcher* watcher) {
  if (watcher->queued_) return;
  watcher->queued_ = true;
  again_.push_back(watcher);
}

void Loop::forget(Watcher* watcher) {
  if (!watcher->queued_) return;
  watcher->queued_ = false;
  std::replace(again_.begin(), again_.end(), watcher, static_cast<Watcher*>(nullptr));
  std::replace(running_.begin(), running_.end(), watcher, static_cast<Watcher*>(nullptr));
}

size_t Loop::wait(int timeout_ms) {
  if (!again_.empty()) timeout_ms = 0;
  const int count =
      ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()), timeout_ms);
  event_count_ = count > 0 ? static_cast<size_t>(count) : 0;
  return event_count_;
}

void Loop::dispatch() {
  running_.swap(again_);
  for (size_t index = 0; index < event_count_; ++index) {
    static_cast<Watcher*>(events_[index].data.ptr)->on_events(events_[index].events);
  }
  event_count_ = 0;
  for (size_t index = 0; index < running_.size(); ++index) {
    Watcher* const watcher = running_[index];
    if (watcher == nullptr) continue;
    watcher->queued_ = false;
    watcher->on_events(0);
  }
  running_.clear();
}

}  // namespace pyserver::gateway
