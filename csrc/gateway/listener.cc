// Accepting connections, a bounded number per turn.
#include "gateway/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

namespace pyserver::gateway {

namespace {

constexpr int kPerTurn = 64;

// A port has a socket for each frontend, by SO_REUSEPORT. A Unix-domain address has one for all of them.
bool is_unix(int fd) {
  int family = 0;
  socklen_t size = sizeof family;
  return ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 && family == AF_UNIX;
}

}  // namespace

Listener::~Listener() {
  stop();
  loop_->forget(this);
}

base::Status Listener::start() {
  if (running_) return {};
  too_early_ = false;
  // Accepting until there is nobody left must not wait for somebody.
  ::fcntl(fd_.get(), F_SETFL, ::fcntl(fd_.get(), F_GETFL) | O_NONBLOCK);
  shared_ = is_unix(fd_.get());
  return watch();
}

base::Status Listener::watch() {
  // Level-triggered: what one turn leaves in the backlog is reported again. A shared socket wakes one of those who wait for it.
  base::Status status = loop_->watch(fd_.get(), shared_ ? EPOLLIN | EPOLLEXCLUSIVE : EPOLLIN, this);
  running_ = status.ok();
  return status;
}

void Listener::stop() {
  if (!running_) return;
  loop_->unwatch(fd_.get());
  running_ = false;
}

void Listener::on_events(uint32_t) {
  const int most = shared_ ? 1 : kPerTurn;
  for (int count = 0; running_ && count < most; ++count) {
    base::UniqueFd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.valid()) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EINVAL) {
        stop();
        too_early_ = true;
        return;
      }
      // Out of descriptors or memory: the backlog keeps the client until some are free again.
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) stop();
      return;
    }
    const int one = 1;  // (a Unix-domain socket refuses the option, and needs none)
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!accept_(std::move(fd))) stop();
    if (shared_ && running_) give_way();
  }
}

// The kernel wakes whoever has been registered longest and waits. Who has taken a connection goes to the end of that queue, or the
// first frontend would get nearly all of them.
void Listener::give_way() {
  loop_->unwatch(fd_.get());
  static_cast<void>(watch());
}

}  // namespace pyserver::gateway
