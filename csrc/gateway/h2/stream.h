// One HTTP/2 stream that a client has opened: the head of its request, and its answer on the way out.
//
//   head ──> call ──send*──> finish (status in trailers) ──> gone
//                 └────────> finish (status in the head: "trailers only")
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/h2/call.h"
#include "gateway/h2/chunk.h"
#include "gateway/h2/message_compressor.h"
#include "gateway/h2/outbox.h"
#include "gateway/h2/progress.h"
#include "protocol/grpc/status.h"

namespace pyserver::gateway::h2 {

class Session;

struct Field {
  std::string name;
  std::string value;
};

class Stream {
 public:
  Stream(Session* session, int32_t id, uint32_t now_s)
      : incoming(now_s), outgoing(now_s), session_(session), id_(id) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // --- the request's head ---
  std::string method;
  std::string path;
  std::vector<Field> fields;  // but the pseudo ones
  size_t head_bytes = 0;
  std::string_view field(std::string_view name) const;

  // --- for the call ---
  // A message is complete; the next one has its own time.
  void message_came();
  // Room for as many bytes of the request again.
  void consume(size_t bytes);
  // The answer's head, if it is not gRPC's usual one.
  void begin(const std::vector<Field>& head);
  void send(std::shared_ptr<const Chunk> chunk);
  // Each chunk is one message, and is sent in this encoding from here on. Before the first one.
  void compress(Encoding encoding);
  // The end of the answer, with these trailers.
  void end(std::vector<Field> trailers);
  void finish(protocol::grpc::StatusCode code, std::string_view message);
  // An answer of HTTP's, not gRPC's.
  void refuse(std::string_view http_status);
  void reset(uint32_t error_code);
  bool finished() const { return ending_ || finished_; }
  size_t queued_bytes() const {
    return queued_bytes_ + (compressor_ ? compressor_->waiting_bytes() : 0);
  }

  size_t queued_chunks() const {
    return queued_chunks_left() + (compressor_ ? compressor_->waiting() : 0);
  }

  // --- for the session ---
  // nghttp2 asks how much of the next `length` bytes there is.
  ssize_t ready(size_t length, uint32_t* flags);
  // The frame with these bytes goes out.
  void write_to(Outbox* outbox, size_t length);
  int32_t id() const { return id_; }
  Session* session() const { return session_; }

  std::unique_ptr<Call> call;
  bool input_ended = false;
  Progress incoming;         // of the head, then of the message under way
  Progress outgoing;         // of the answer
  uint64_t deadline_ns = 0;  // of the client's grpc-timeout; 0: none
  size_t list_index = 0;

 private:
  void begin_usual();
  void queue(std::shared_ptr<const Chunk> chunk);
  void end_now(std::vector<Field> trailers);
  void submit_head(std::span<const nghttp2_nv> head);
  bool submit_trailers();
  size_t queued_chunks_left() const { return queue_.size() - first_; }
  void pop_chunk();

  Session* session_;
  const int32_t id_;
  bool begun_ = false;
  bool ending_ = false;    // end() was called
  bool finished_ = false;  // nothing comes behind what is queued
  bool deferred_ = false;  // nghttp2 waits for more of the answer
  bool ok_ = false;        // the trailers say no more than that
  std::vector<Field> trailers_;
  Encoding encoding_ = Encoding::kIdentity;
  std::unique_ptr<MessageCompressor> compressor_;
  std::vector<std::shared_ptr<const Chunk>> queue_;
  size_t first_ = 0;        // chunk of the queue
  size_t span_ = 0;         // in that chunk
  size_t span_offset_ = 0;  // in that span
  size_t queued_bytes_ = 0;
};

nghttp2_nv field_view(std::string_view name, std::string_view value);

}  // namespace pyserver::gateway::h2
