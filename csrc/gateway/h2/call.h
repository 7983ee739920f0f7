// What happens on one stream. The stream owns its call and destroys it after closed().
#pragma once

#include <cstdint>
#include <span>

namespace pyserver::gateway::h2 {

class Call {
 public:
  virtual ~Call() = default;

  // Bytes of the request, prefixes included. The call says Stream::consume() when there is room for as many again.
  virtual void take(std::span<const uint8_t> bytes) = 0;
  // Where the next bytes of the request belong, if they are to be put there by whoever receives them. take() is called with them all
  // the same. Empty: take() puts them where they belong.
  virtual std::span<uint8_t> window() { return {}; }
  // The client has half-closed.
  virtual void input_ended() = 0;
  // `bytes` of the answer have been made ready for the socket.
  virtual void drained(size_t bytes) { static_cast<void>(bytes); }
  // A part of a message has come and takes memory; the client is to send the rest.
  virtual bool waits_for_bytes() const { return false; }
  // No further request will be taken: the call ends when all that have come are answered.
  virtual void end_when_idle() {}
  // Nobody hears an answer any more: it is complete, or the client, or the connection has gone.
  virtual void closed() = 0;
};

}  // namespace pyserver::gateway::h2
