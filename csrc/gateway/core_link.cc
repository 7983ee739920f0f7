// Opening and leaving the channel to core.
#include "gateway/core_link.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace pyserver::gateway {

namespace {

base::Status duplicate(int fd, base::UniqueFd* copy) {
  *copy = base::UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (copy->valid()) return {};
  return base::internal_error(std::string("cannot duplicate a descriptor: ") +
                              std::strerror(errno));
}

}  // namespace

base::Status CoreLink::attach(std::span<const int, 4> fds, int control_fd, uint64_t keep_bytes) {
  detach();
  shm::ChannelFds channel_fds;
  base::Status status = duplicate(fds[0], &channel_fds.rings);
  if (status.ok()) status = duplicate(fds[1], &channel_fds.core_bell);
  if (status.ok()) status = duplicate(fds[2], &channel_fds.peer_bell);
  base::UniqueFd control;
  if (status.ok()) status = duplicate(control_fd, &control);
  shm::ChannelEnd channel;
  if (status.ok()) status = shm::ChannelEnd::open(channel_fds, shm::Side::kPeer, &channel);
  shm::Mapping region;
  if (status.ok()) status = shm::Mapping::map(fds[3], true, &region);
  if (!status.ok()) return status;
  auto session = std::make_shared<CoreSession>(std::move(channel), std::move(region), keep_bytes);
  status = loop_->watch(session->channel.bell(), EPOLLIN | EPOLLET, this);
  if (!status.ok()) return status;
  session_ = std::move(session);
  control_ = std::move(control);
  return {};
}

void CoreLink::detach() {
  if (session_ == nullptr) return;
  loop_->unwatch(session_->channel.bell());
  session_->lost = true;
  session_.reset();
  control_.reset();
}

bool CoreLink::flush() {
  if (session_ == nullptr) return false;
  session_->channel.flush();
  return session_->channel.backlog() > 0;
}

}  // namespace pyserver::gateway
