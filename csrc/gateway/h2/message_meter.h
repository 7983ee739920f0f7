// Follows the messages of a call that is passed on as it comes: where they end, and whether one is larger than allowed. Keeps none.
//
// Core takes messages of any size into its memory and decompresses them first, so what is too large must not get there.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "base/status.h"
#include "gateway/compression.h"
#include "protocol/grpc/framing.h"

namespace pyserver::gateway::h2 {

class MessageMeter {
 public:
  MessageMeter(Encoding encoding, uint64_t limit) : encoding_(encoding), limit_(limit) {}

  // Not ok: a message is larger than the limit, as it comes or decompressed. What is wrong in other ways is core's to refuse.
  base::Status take(std::span<const uint8_t> bytes);
  // A part of a message has come.
  bool inside_message() const { return prefix_size_ > 0; }
  uint64_t message_count() const { return message_count_; }  // complete ones

 private:
  base::Status begin();
  void inflate(std::span<const uint8_t> bytes);
  base::Status too_large(uint64_t bytes) const;

  const Encoding encoding_;
  const uint64_t limit_;
  std::array<uint8_t, protocol::grpc::kPrefixBytes> prefix_{};
  size_t prefix_size_ = 0;
  uint64_t left_ = 0;  // of the message
  std::unique_ptr<Inflater> inflater_;
  uint64_t inflated_ = 0;
  uint64_t message_count_ = 0;
};

}  // namespace pyserver::gateway::h2
