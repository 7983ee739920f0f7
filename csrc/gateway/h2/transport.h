// A socket with an nghttp2 session on it: reads what there is, and writes once per turn of the loop.
//
// nghttp2's callbacks run inside feed() and flush(); none of them may call these two or close(). Whoever has queued something for the
// session calls want_flush().
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <span>
#include <vector>

#include "gateway/h2/outbox.h"
#include "gateway/host.h"
#include "gateway/loop.h"
#include "gateway/socket.h"

namespace pyserver::gateway::h2 {

class Transport;
// Those that have something to write at the end of this turn.
using FlushQueue = std::vector<Transport*>;

class Transport : public Watcher {
 public:
  Transport(Host* host, FlushQueue* queue, Socket socket);
  ~Transport() override;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  base::Status watch();
  void on_events(uint32_t events) final;
  void want_flush();
  void flush();
  void close();
  // Once a second: a peer that takes nothing for too long is given up.
  void sweep_writes(uint32_t now_s);

  bool closed() const { return !socket_.valid(); }
  const Entrance& entrance() const { return socket_.entrance; }
  nghttp2_session* session() const { return session_; }
  Outbox& outbox() { return outbox_; }

 protected:
  void feed(std::span<const uint8_t> bytes);
  // Where the next bytes of the socket may be put instead of the read buffer; they are fed from there. Empty: nowhere else.
  // *behind is how many bytes more may be read at once.
  virtual std::span<uint8_t> window(size_t* behind) {
    static_cast<void>(behind);
    return {};
  }
  // What is about to be fed.
  virtual void passing(std::span<const uint8_t> bytes) { static_cast<void>(bytes); }
  // After the descriptor was closed: what depends on the connection ends.
  virtual void on_closed() = 0;
  void own_session(nghttp2_session* session) { session_ = session; }
  Host* host() const { return host_; }

 private:
  void read();
  ssize_t receive();

  Host* host_;
  FlushQueue* queue_;
  Socket socket_;
  nghttp2_session* session_ = nullptr;
  Outbox outbox_;
  bool queued_ = false;
  bool readable_ = false;
  bool ended_ = false;    // the peer will send no more
  bool blocked_ = false;  // the peer does not take what we have for it
  bool failed_ = false;   // nghttp2 gave up: what it still has to say is written, then we close
  size_t unsent_mark_ = 0;
  uint32_t write_deadline_s_ = 0;
};

}  // namespace pyserver::gateway::h2
