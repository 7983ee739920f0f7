// Accepting connections, a bounded number per turn.
#include "gateway/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

namespace pyserver::gateway {

Listener::~Listener() {
  stop();
  loop_->forget(this);
}

base::Status Listener::start() {
  if (running_) return {};
  too_early_ = false;
  // Accepting until there is nobody left must not wait for somebody.
  ::fcntl(fd_.get(), F_SETFL, ::fcntl(fd_.get(), F_GETFL) | O_NONBLOCK);
  // Level-triggered: what one turn leaves in the backlog is reported again.
  base::Status status = loop_->watch(fd_.get(), EPOLLIN, this);
  running_ = status.ok();
  return status;
}

void Listener::stop() {
  if (!running_) return;
  loop_->unwatch(fd_.get());
  running_ = false;
}

void Listener::on_events(uint32_t) {
  constexpr int kPerTurn = 64;
  for (int count = 0; running_ && count < kPerTurn; ++count) {
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
    const int one = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!accept_(std::move(fd))) stop();
  }
}

}  // namespace pyserver::gateway
