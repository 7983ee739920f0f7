// A client's HTTP/2 connection: streams come, are routed to calls, and go.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "gateway/h2/allowance.h"
#include "gateway/h2/frame_cursor.h"
#include "gateway/h2/stream.h"
#include "gateway/h2/transport.h"

namespace pyserver::gateway::h2 {

// What sessions ask of the whole.
struct SessionHost {
  // Gives the stream its call, or answers it.
  virtual void begin_call(Stream* stream) = 0;
  // The stream is about to be destroyed.
  virtual void end_call(Stream* stream) = 0;
  // The connection is gone; the session may be destroyed after this turn.
  virtual void session_closed(Session* session) = 0;

 protected:
  ~SessionHost() = default;
};

class Session final : public Transport {
 public:
  Session(Host* host, FlushQueue* queue, SessionHost* owner, Socket socket);
  ~Session() override;

  // Sends our settings; `received` are the bytes that have come already, the preface first.
  void start(std::span<const uint8_t> received);
  // No new streams; the connection ends with the last one.
  void drain();
  void end_streams();
  void sweep(uint32_t now_s);
  // The client's deadline has passed.
  void overdue(Stream* stream);
  size_t stream_count() const { return streams_.size(); }
  Loop* loop() const { return &host()->loop; }
  uint32_t now_s() const { return host()->now_s; }

  size_t list_index = 0;
  uint32_t proxied_calls = 0;

 private:
  // nghttp2's callbacks, with the session as user data (session_callbacks.cc).
  struct Callbacks;
  static nghttp2_session_callbacks* callbacks();

  Stream* open(int32_t id);
  void head_complete(Stream* stream);
  void input_ended(Stream* stream);
  void heard();
  void keep_alive(uint32_t now_s);
  void end_stuck(uint32_t now_s);
  bool end_stalled(Stream* stream, uint32_t now_s);
  void gone(Stream* stream);
  void remove(Stream* stream);
  void begin_frame(const nghttp2_frame_hd& head);
  void count_reset();
  void count_idle_frame();
  bool count_ping();
  void give_up(uint32_t error_code, std::string_view why);
  std::span<uint8_t> window(size_t* behind) override;
  void passing(std::span<const uint8_t> bytes) override { cursor_.advance(bytes); }
  void on_closed() override;

  SessionHost* owner_;
  FrameCursor cursor_;
  std::vector<std::unique_ptr<Stream>> streams_;
  uint32_t idle_since_s_ = 0;
  uint32_t opened_s_ = 0;
  uint32_t heard_s_ = 0;      // when the last frame came
  uint32_t ping_sent_s_ = 0;  // since when a ping of ours waits for its answer; 0: none does
  bool draining_ = false;
  bool given_up_ = false;
  uint32_t ping_strikes_ = 0;
  uint64_t last_ping_ns_ = 0;
  bool moved_ = true;  // something but pings since the last ping
  Allowance resets_;
  Allowance idle_frames_;
  int32_t highest_id_ = -1;
  bool ids_skipped_ = false;
};

}  // namespace pyserver::gateway::h2
