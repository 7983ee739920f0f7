// What a connection is about to write, in order: small pieces are copied, large ones are referred to where they are.
//
//   pieces:  [copied][ referred to ][copied][copied]...   written front to back by sendmsg
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gateway/counters.h"
#include "gateway/socket.h"

namespace pyserver::gateway::h2 {

class Outbox {
 public:
  enum class Result : uint8_t { kDone, kBlocked, kDead };

  void append(const uint8_t* bytes, size_t size);
  // `holder` keeps the bytes where they are until they are written.
  void refer(std::span<const uint8_t> bytes, std::shared_ptr<const void> holder);
  size_t unsent() const { return unsent_; }
  Result flush(Socket* socket, Counters* counters);
  void clear();

 private:
  struct Piece {
    const uint8_t* bytes;  // null: in buffer_
    uint64_t at;           // place in buffer_, counted from its first byte ever
    size_t size;
    std::shared_ptr<const void> holder;
  };
  const uint8_t* address(const Piece& piece) const;
  void sent(size_t bytes);
  void compact();

  std::string buffer_;
  uint64_t buffer_begin_ = 0;  // the number of buffer_[0]
  std::vector<Piece> pieces_;
  size_t first_ = 0;
  size_t unsent_ = 0;
};

}  // namespace pyserver::gateway::h2
