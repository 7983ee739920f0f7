// Opening the two ends of a channel, and sending without ever waiting.
#include "shm/channel.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/clock.h"

namespace pyserver::shm {

namespace {

base::Status make_bell(base::UniqueFd* bell) {
  *bell = base::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (bell->valid()) return {};
  return base::internal_error(std::string("cannot create an eventfd: ") + std::strerror(errno));
}

base::UniqueFd duplicate(int fd) { return base::UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

}  // namespace

base::Status ChannelFds::make(uint32_t peer, uint64_t region_bytes, bool busy_poll,
                              ChannelFds* fds) {
  ChannelFds made;
  base::Status status =
      make_memfd("pyserver-channel-" + std::to_string(peer), kChannelBytes, &made.rings);
  if (!status.ok()) return status;
  Mapping mapping;
  status = Mapping::map(made.rings.get(), true, &mapping);
  if (!status.ok()) return status;
  const ChannelHeader header{kChannelMagic, kLayoutVersion, peer, region_bytes,
                             busy_poll ? 1u : 0u};
  std::memcpy(mapping.data(), &header, sizeof header);
  status = make_bell(&made.core_bell);
  if (status.ok()) status = make_bell(&made.peer_bell);
  if (status.ok()) *fds = std::move(made);
  return status;
}

base::Status ChannelEnd::open(const ChannelFds& fds, Side side, ChannelEnd* end) {
  ChannelEnd made;
  const base::Status status = Mapping::map(fds.rings.get(), true, &made.rings_);
  if (!status.ok()) return status;
  ChannelHeader header{};
  if (made.rings_.size() < kChannelBytes) return base::internal_error("a channel is too small");
  std::memcpy(&header, made.rings_.data(), sizeof header);
  if (header.magic != kChannelMagic || header.version != kLayoutVersion) {
    return base::internal_error("a channel has an unknown layout");
  }
  uint8_t* to_core = made.rings_.data() + kToCoreOffset;
  uint8_t* from_core = made.rings_.data() + kFromCoreOffset;
  const bool core = side == Side::kCore;
  made.peer_ = header.peer;
  made.region_bytes_ = header.region_bytes;
  made.busy_poll_ = header.busy_poll != 0;
  made.writer_ = RingWriter(core ? from_core : to_core);
  made.reader_ = RingReader(core ? to_core : from_core);
  made.own_bell_ = duplicate(core ? fds.core_bell.get() : fds.peer_bell.get());
  made.other_bell_ = duplicate(core ? fds.peer_bell.get() : fds.core_bell.get());
  if (!made.own_bell_.valid() || !made.other_bell_.valid()) {
    return base::internal_error(std::string("cannot duplicate a doorbell: ") +
                                std::strerror(errno));
  }
  *end = std::move(made);
  return {};
}

void ChannelEnd::send(const Record& record) {
  dirty_ = true;
  if (!backlog_.empty()) put_backlog();
  if (!backlog_.empty() || !writer_.try_put(record)) backlog_.push_back(record);
}

void ChannelEnd::put_backlog() {
  while (!backlog_.empty() && writer_.try_put(backlog_.front())) backlog_.pop_front();
}

void ChannelEnd::flush() {
  if (!backlog_.empty()) {
    put_backlog();
    dirty_ = true;
  }
  if (!dirty_) return;
  dirty_ = false;
  if (writer_.publish()) {
    writer_.note_ring(base::monotonic_ns());
    const uint64_t one = 1;
    // The counter saturates only after 2^64 rings; EAGAIN would mean the same as success: the reader has been rung.
    [[maybe_unused]] const ssize_t written = ::write(other_bell_.get(), &one, sizeof one);
  }
}

}  // namespace pyserver::shm
