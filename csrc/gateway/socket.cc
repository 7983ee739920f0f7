// Plain system calls, or OpenSSL's in their manner.
#include "gateway/socket.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

namespace pyserver::gateway {

namespace {

constexpr size_t kRecordBytes = 16384;  // of plain text in one TLS record

int clipped(size_t bytes) { return static_cast<int>(std::min<size_t>(bytes, INT_MAX)); }

}  // namespace

Socket::Socket(base::UniqueFd fd, SSL* ssl) : fd_(std::move(fd)), ssl_(ssl) {
  SSL_set_fd(ssl, fd_.get());
}

void Socket::Free::operator()(SSL* ssl) const { SSL_free(ssl); }

// In errno's words. OpenSSL's queue of errors is per thread, and a stale one would be taken for the next call's.
ssize_t Socket::failed(int result) {
  const int system_error = errno;
  const int error = SSL_get_error(ssl_.get(), result);
  ERR_clear_error();
  switch (error) {
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      errno = EAGAIN;
      return -1;
    case SSL_ERROR_SYSCALL:
      errno = system_error != 0 && system_error != EAGAIN ? system_error : ECONNRESET;
      return -1;
    default:
      errno = EPROTO;
      return -1;
  }
}

ssize_t Socket::receive(std::span<const iovec> parts, bool* emptied) {
  if (ssl_ != nullptr) {
    *emptied = false;  // what was read may be a part of what OpenSSL has
    errno = 0;
    const int got = SSL_read(ssl_.get(), parts[0].iov_base, clipped(parts[0].iov_len));
    return got > 0 ? got : failed(got);
  }
  size_t room = 0;
  for (const iovec& part : parts) room += part.iov_len;
  ssize_t got = 0;
  if (parts.size() == 1) {
    got = ::recv(fd_.get(), parts[0].iov_base, parts[0].iov_len, 0);
  } else {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts.data());  // recvmsg changes what they name only
    message.msg_iovlen = parts.size();
    got = ::recvmsg(fd_.get(), &message, 0);
  }
  *emptied = got > 0 && static_cast<size_t>(got) < room;
  return got;
}

// Small parts go into one record together: each has a head and a seal of its own.
ssize_t Socket::send(std::span<const iovec> parts) {
  if (ssl_ == nullptr) {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts.data());  // sendmsg only reads them
    message.msg_iovlen = parts.size();
    return ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
  }
  const void* bytes = parts[0].iov_base;
  size_t size = parts[0].iov_len;
  std::array<char, kRecordBytes> together;
  if (size < kRecordBytes && parts.size() > 1) {
    size = 0;
    for (const iovec& part : parts) {
      const size_t step = std::min(part.iov_len, together.size() - size);
      std::memcpy(together.data() + size, part.iov_base, step);
      size += step;
    }
    bytes = together.data();
  }
  errno = 0;
  const int sent = SSL_write(ssl_.get(), bytes, clipped(size));
  if (sent > 0) return sent;
  const ssize_t result = failed(sent);
  if (result == 0) errno = EPIPE;
  return -1;
}

void Socket::end_output() {
  if (ssl_ != nullptr) {
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
  }
  ::shutdown(fd_.get(), SHUT_WR);
}

void Socket::close() {
  if (ssl_ != nullptr && fd_.valid() && SSL_is_init_finished(ssl_.get()) != 0) {
    SSL_shutdown(ssl_.get());  // says goodbye if there is room for it; nobody waits for the answer
    ERR_clear_error();
  }
  ssl_.reset();
  fd_.reset();
}

Socket::Handshake Socket::shake_hands() {
  errno = 0;
  const int done = SSL_accept(ssl_.get());
  if (done == 1) return Handshake::kDone;
  return failed(done) < 0 && errno == EAGAIN ? Handshake::kWaits : Handshake::kFailed;
}

std::string_view Socket::protocol() const {
  if (ssl_ == nullptr) return {};
  const unsigned char* name = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

}  // namespace pyserver::gateway
