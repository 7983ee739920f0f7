// Compresses a stream's answers, message by message and in slices, so that a large one does not hold up the loop.
//
//   send(A) send(B) end ──> [A][B] ──deflate, a slice a turn──> deliver(A') deliver(B') deliver end
//
// A message that does not get smaller goes out as it is, as in gRPC's own libraries.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "gateway/compression.h"
#include "gateway/h2/chunk.h"
#include "gateway/loop.h"
#include "gateway/settings.h"

namespace pyserver::gateway::h2 {

class MessageCompressor final : public Watcher {
 public:
  using Deliver = std::function<void(std::shared_ptr<const Chunk>)>;

  MessageCompressor(Loop* loop, Encoding encoding, Deliver deliver)
      : loop_(loop), encoding_(encoding), deliver_(std::move(deliver)) {}
  ~MessageCompressor() override { loop_->forget(this); }

  // One message with its prefix.
  void send(std::shared_ptr<const Chunk> message);
  // Calls `then` when all is delivered; at once if it is.
  void end(std::function<void()> then);
  // Nobody wants the rest.
  void clear();
  size_t waiting() const { return waiting_.size(); }
  size_t waiting_bytes() const { return waiting_bytes_; }

  void on_events(uint32_t) override { work(); }

 private:
  void work();
  void compress_some(size_t* budget);
  void message_done(bool smaller);

  Loop* loop_;
  const Encoding encoding_;
  Deliver deliver_;
  std::function<void()> then_;
  std::deque<std::shared_ptr<const Chunk>> waiting_;
  size_t waiting_bytes_ = 0;
  // Of the first one that waits:
  std::optional<Deflater> deflater_;
  std::string made_;
  size_t span_ = 0;
  size_t offset_ = 0;
  bool asked_ = false;  // again() was called
};

// gRPC's choice for a level among what a client accepts: the higher, the smaller it hopes the result to be.
Encoding encoding_for_level(CompressionLevel level, std::string_view accepted);

}  // namespace pyserver::gateway::h2
