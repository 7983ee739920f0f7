// What happens with one request of a connection, from the end of its head to the last byte of its answer.
//
// The connection calls these in order: [window, received | take]*, body_complete, then done(), or abandoned() at any time instead.
// After done() or abandoned() it never touches the exchange again. The exchange answers through the connection (Connection::reply), at
// any time; answering before the body has come ends the connection after the answer.
#pragma once

#include <cstdint>
#include <span>

namespace pyserver::gateway {

class Exchange {
 public:
  // Where the kernel may put the next bytes of a body of known length; empty: hand them to take().
  virtual std::span<uint8_t> window() { return {}; }
  virtual void received(size_t bytes) { static_cast<void>(bytes); }
  virtual void take(std::span<const uint8_t> bytes) = 0;
  // No more of the body for now; Connection::proceed() says that there is room again.
  virtual bool full() const { return false; }
  virtual void body_complete() = 0;

  // What was streamed so far has been handed to the kernel.
  virtual void drained() {}
  // The whole answer has been handed to the kernel.
  virtual void done() = 0;
  // The connection is gone.
  virtual void abandoned() = 0;
  // The client closed its half of the connection while it waited: it has probably given up, but an answer can still be sent.
  virtual void client_left() {}

 protected:
  ~Exchange() = default;
};

}  // namespace pyserver::gateway
