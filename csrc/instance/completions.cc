// The descriptors that wake an event loop.
#include "instance/completions.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace pyserver::instance {

namespace {

constexpr long kSoonNs = 1'000'000;

void quiet(int fd) {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t taken = ::read(fd, &count, sizeof count);
}

bool watch_always(int waiter, int fd) {
  epoll_event level{};
  level.events = EPOLLIN;
  level.data.fd = fd;
  return ::epoll_ctl(waiter, EPOLL_CTL_ADD, fd, &level) == 0;
}

}  // namespace

base::Status Completions::make(std::shared_ptr<Completions>* completions) {
  auto made = std::make_shared<Completions>();
  made->waiter_ = base::UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  made->own_bell_ = base::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  made->timer_ = base::UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!made->waiter_.valid() || !made->own_bell_.valid() || !made->timer_.valid() ||
      !watch_always(made->waiter_.get(), made->own_bell_.get()) ||
      !watch_always(made->waiter_.get(), made->timer_.get())) {
    return base::internal_error(std::string("cannot watch calls for an event loop: ") +
                                std::strerror(errno));
  }
  *completions = std::move(made);
  return {};
}

void Completions::add(uint64_t ticket) {
  const std::lock_guard lock(mutex_);
  tickets_.push_back(ticket);
  if (attended_ || std::exchange(rung_, true)) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(own_bell_.get(), &one, sizeof one);
}

void Completions::attend(bool attended) {
  const std::lock_guard lock(mutex_);
  attended_ = attended;
}

bool Completions::any() {
  const std::lock_guard lock(mutex_);
  return !tickets_.empty();
}

std::vector<uint64_t> Completions::take() {
  const std::lock_guard lock(mutex_);
  if (std::exchange(rung_, false)) quiet(own_bell_.get());
  return std::exchange(tickets_, {});
}

void Completions::quieten() {
  epoll_event events[3];
  const int count = ::epoll_wait(waiter_.get(), events, 3, 0);
  for (int index = 0; index < count; ++index) {
    if (events[index].data.fd == timer_.get()) quiet(timer_.get());
    if (events[index].data.fd == watched_bell_) watching_ = false;  // it fires once
  }
}

void Completions::watch(int bell, bool soon) {
  if (soon) {
    itimerspec once{};
    once.it_value.tv_nsec = kSoonNs;
    ::timerfd_settime(timer_.get(), 0, &once, nullptr);
  }
  if (watching_) return;
  epoll_event ring{};
  ring.events = EPOLLIN | EPOLLONESHOT;
  ring.data.fd = bell;
  const int how = watched_bell_ == bell ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  watched_bell_ = bell;
  watching_ = ::epoll_ctl(waiter_.get(), how, bell, &ring) == 0;
}

}  // namespace pyserver::instance
