// What both methods of inference do with the bytes of a stream: messages behind prefixes, each into a request's memory.
//
//   [0|1][length, 4 bytes][message] [0|1][length][message] ...
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"
#include "gateway/compression.h"
#include "gateway/h2/call.h"
#include "gateway/h2/infer_request.h"
#include "gateway/h2/stream.h"
#include "protocol/grpc/framing.h"

namespace pyserver::gateway::h2 {

class InferCall : public Call {
 public:
  InferCall(Stream* stream, InferRequests* requests);
  void take(std::span<const uint8_t> bytes) final;
  std::span<uint8_t> window() final;
  void input_ended() final;
  bool waits_for_bytes() const final {
    return withheld_ == 0 && (inside_message() || message_due());
  }

 protected:
  // A whole message. More may follow.
  virtual void message(InferRef request) = 0;
  // The client has half-closed, and all that came before has been seen.
  virtual void all_received() = 0;
  // The bytes are not what they should be: the call is over.
  virtual void broken(protocol::grpc::StatusCode code, const std::string& text) = 0;
  // Whether the call is about nothing before a message comes.
  virtual bool message_due() const { return false; }
  // Whether no further message is wanted for now; resume() when there is room again.
  virtual bool full() const { return false; }
  void resume();

  // A message is under way.
  bool inside_message() const { return request_ != nullptr || prefix_size_ > 0; }
  Stream* stream() const { return stream_; }
  InferRequests* requests() const { return requests_; }

 private:
  size_t parse(std::span<const uint8_t> bytes);
  bool begin_message();
  base::Status take_part(std::span<const uint8_t> bytes);
  void refuse_part(const base::Status& status);
  uint64_t most_inflated(uint64_t byte_size) const;
  base::Status make_room();

  Stream* stream_;
  InferRequests* requests_;
  Encoding encoding_;
  std::array<uint8_t, protocol::grpc::kPrefixBytes> prefix_{};
  size_t prefix_size_ = 0;
  uint64_t left_ = 0;    // of the message
  size_t withheld_ = 0;  // bytes that we have not said we have room for again
  // What has come behind the last message that was wanted, at most a window: each message of it costs far more than its bytes.
  std::string waiting_;
  size_t waiting_at_ = 0;
  bool ended_ = false;
  bool broken_ = false;
  InferRef request_;
};

}  // namespace pyserver::gateway::h2
