// Reading into nghttp2, and writing what it and the streams have.
#include "gateway/h2/transport.h"

#include <algorithm>
#include <cerrno>

namespace pyserver::gateway::h2 {

namespace {

constexpr size_t kReadsPerTurn = 16;
constexpr uint64_t kInflatedPerTurn = 4u << 20;  // a few bytes may become many
constexpr size_t kOutboxBytes = 1 << 18;         // as much is made ready ahead of the socket

}  // namespace

Transport::Transport(Host* host, FlushQueue* queue, Socket socket)
    : host_(host),
      queue_(queue),
      socket_(std::move(socket)),
      // OpenSSL may have read what no event will tell of.
      readable_(socket_.encrypted()) {}

Transport::~Transport() {
  host_->loop.forget(this);
  std::replace(queue_->begin(), queue_->end(), this, static_cast<Transport*>(nullptr));
  nghttp2_session_del(session_);
}

base::Status Transport::watch() {
  return host_->loop.watch(socket_.fd(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, this);
}

void Transport::on_events(uint32_t events) {
  if (closed()) return;
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
    close();
    return;
  }
  if ((events & (EPOLLIN | EPOLLRDHUP)) != 0) readable_ = true;
  if ((events & EPOLLRDHUP) != 0) ended_ = true;
  if ((events & EPOLLOUT) != 0 && blocked_) want_flush();
  read();
}

void Transport::read() {
  for (size_t count = 0; readable_ && !closed() && !failed_; ++count) {
    if (count == kReadsPerTurn || (count > 0 && host_->inflated_bytes > kInflatedPerTurn)) {
      host_->loop.again(this);
      return;
    }
    // A peer that makes us write (pings, settings) and does not read is not read from either.
    if (blocked_ && outbox_.unsent() > kOutboxBytes) return;
    const ssize_t size = receive();
    if (size > 0 || (size < 0 && errno == EINTR)) continue;
    readable_ = false;
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    close();  // gRPC's clients do not close one half
  }
}

// One read: a large message's bytes to where they belong, everything else through the read buffer.
ssize_t Transport::receive() {
  size_t behind = host_->read_buffer.size();
  const std::span<uint8_t> place = window(&behind);
  const iovec parts[] = {{place.data(), place.size()}, {host_->read_buffer.data(), behind}};
  const std::span<const iovec> all(parts);
  bool emptied = false;
  ++host_->counters.recv_calls;
  const ssize_t size = socket_.receive(all.subspan(place.empty() ? 1 : 0), &emptied);
  if (size <= 0) return size;
  readable_ = !emptied || ended_;  // of the end no further event tells
  const size_t placed = std::min(place.size(), static_cast<size_t>(size));
  if (placed > 0) feed(place.first(placed));
  const size_t rest = static_cast<size_t>(size) - placed;
  if (rest > 0 && !failed_)
    feed({reinterpret_cast<const uint8_t*>(host_->read_buffer.data()), rest});
  return size;
}

void Transport::feed(std::span<const uint8_t> bytes) {
  passing(bytes);
  const ssize_t used = nghttp2_session_mem_recv(session_, bytes.data(), bytes.size());
  if (used < 0 && !failed_) {
    failed_ = true;
    // Most faults nghttp2 answers by itself and goes on. These are beyond its own limits, and it leaves them to us.
    ++host_->counters.malformed;
    const bool flood = used == NGHTTP2_ERR_FLOODED || used == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS;
    nghttp2_session_terminate_session(session_,
                                      flood ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
  }
  want_flush();
}

void Transport::want_flush() {
  if (queued_ || closed()) return;
  queued_ = true;
  queue_->push_back(this);
}

void Transport::flush() {
  queued_ = false;
  while (!closed()) {
    while (outbox_.unsent() < kOutboxBytes) {
      const uint8_t* bytes = nullptr;
      const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
      if (size < 0) {
        close();
        return;
      }
      if (size == 0) break;
      outbox_.append(bytes, static_cast<size_t>(size));
    }
    if (outbox_.unsent() == 0) break;
    switch (outbox_.flush(&socket_, &host_->counters)) {
      case Outbox::Result::kDead:
        close();
        return;
      case Outbox::Result::kBlocked:
        if (!blocked_) {
          write_deadline_s_ = host_->now_s + host_->settings.write_timeout_s;
          unsent_mark_ = outbox_.unsent();
        }
        blocked_ = true;
        return;
      case Outbox::Result::kDone:
        if (blocked_ && readable_) host_->loop.again(this);
        blocked_ = false;
        break;
    }
  }
  if (closed()) return;
  if (failed_ ||
      (nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0))
    close();
}

void Transport::sweep_writes(uint32_t now_s) {
  if (!blocked_ || now_s < write_deadline_s_) return;
  if (outbox_.unsent() != unsent_mark_) {
    unsent_mark_ = outbox_.unsent();
    write_deadline_s_ = now_s + host_->settings.write_timeout_s;
    return;
  }
  ++host_->counters.timeouts;
  close();
}

void Transport::close() {
  if (closed()) return;
  host_->loop.unwatch(socket_.fd());
  socket_.close();
  outbox_.clear();
  on_closed();
}

}  // namespace pyserver::gateway::h2
