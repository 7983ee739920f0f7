// The handshake, in as many turns as the client takes.
#include "gateway/greeting.h"

#include <utility>

namespace pyserver::gateway {

base::Status Greeting::watch() {
  return loop_->watch(socket_.fd(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, this);
}

void Greeting::on_events(uint32_t events) {
  if (!socket_.valid()) return;
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
    close();
    return;
  }
  switch (socket_.shake_hands()) {
    case Socket::Handshake::kWaits:
      return;
    case Socket::Handshake::kFailed:
      close();
      return;
    case Socket::Handshake::kDone:
      loop_->unwatch(socket_.fd());
      owner_->greeted(this, std::move(socket_));
      return;
  }
}

void Greeting::close() {
  if (!socket_.valid()) return;
  loop_->unwatch(socket_.fd());
  socket_.close();
  owner_->greeting_failed(this);
}

}  // namespace pyserver::gateway
