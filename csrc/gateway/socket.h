// A connected stream socket, plain or with TLS on it, that never blocks.
//
// Thread safety: one thread.
#pragma once

#include <openssl/types.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "base/fd.h"
#include "gateway/entrance.h"

namespace pyserver::gateway {

class Socket {
 public:
  enum class Handshake : uint8_t { kDone, kWaits, kFailed };

  Socket() = default;
  // Implicit: a descriptor is a socket.
  Socket(base::UniqueFd fd) : fd_(std::move(fd)) {}  // NOLINT(google-explicit-constructor)
  // Takes `ssl`, which is about to accept a client on `fd`.
  Socket(base::UniqueFd fd, SSL* ssl);

  // As much as there is of what fits into `parts`, in their order. As recv(2): 0 at the end, and -1 with errno, of which EAGAIN says
  // that an event of the descriptor will tell of more. *emptied: it will tell of more also now, so there is no need to ask again.
  ssize_t receive(std::span<const iovec> parts, bool* emptied);
  // As sendmsg(2). After EAGAIN the next call must begin with the same bytes, and have as many of them at least.
  ssize_t send(std::span<const iovec> parts);
  // What else is sent will not arrive; what the client sends still does.
  void end_output();
  void close();

  // Of one with TLS: nothing is received or sent before it is done.
  Handshake shake_hands();
  // What both sides have agreed to speak; empty for nothing, and without TLS.
  std::string_view protocol() const;

  Entrance entrance;  // of an accepted one

  bool encrypted() const { return ssl_ != nullptr; }
  bool valid() const { return fd_.valid(); }
  int fd() const { return fd_.get(); }

 private:
  struct Free {
    void operator()(SSL* ssl) const;
  };
  ssize_t failed(int result);

  base::UniqueFd fd_;
  std::unique_ptr<SSL, Free> ssl_;  // before fd_ is closed
};

}  // namespace pyserver::gateway
