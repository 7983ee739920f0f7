// One client connection: bytes to requests, answers to bytes.
//
//            head complete          body complete             answer written
//   kHead ───────────────> kBody ────────────────> kAnswering ──────────────> kHead (keep-alive)
//     │ malformed            │ refused                │                   └─> kLingering ─> kClosed
//     └──────────────────────┴──> kAnswering (then close)
//
// One request at a time: while an exchange is under way nothing is read (unless it is its body), and pipelined bytes wait in `stash_`,
// at most one read's worth. The descriptor is registered once, edge-triggered; `readable_` remembers an edge that came too early.
//
// Thread safety: all of the gateway is one thread.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/exchange.h"
#include "gateway/host.h"
#include "gateway/http_parser.h"
#include "gateway/loop.h"
#include "gateway/reply.h"
#include "gateway/socket.h"

namespace pyserver::gateway {

class Connection final : public Watcher, private BodyTarget {
 public:
  Connection(Host* host, Socket socket);
  ~Connection() override;

  base::Status watch();
  void on_events(uint32_t events) override;

  // --- for exchanges ---
  // The whole answer: `head.content_length` bytes in `body`, which stay valid until done() or abandoned().
  void reply(const ReplyHead& head, std::span<const iovec> body);
  // A JSON answer of an error; the text is copied.
  void refuse(int status, std::string_view json_body, std::string_view accept_encoding = {});
  // An answer in parts: append to the returned buffer, then call stream(); `last` ends the answer.
  std::string* stream_buffer() { return &out_; }
  void stream(bool last);
  // How much of the stream the client has not taken yet.
  size_t unsent() const { return out_.size() - out_sent_; }
  // The exchange can take more of the body again.
  void proceed();
  // The exchange takes its leave before the answer is out; nothing of it is called any more.
  void detach() { exchange_ = nullptr; }
  void close_after_reply() { keep_alive_ = false; }
  // Some of the request's body has not come yet.
  bool body_open() const { return body_open_; }
  bool http10() const { return http10_; }
  const Entrance& entrance() const { return socket_.entrance; }
  Persistence persistence() const;
  // Cuts the connection off, in the middle of an answer if need be.
  void close();

  // --- for the gateway ---
  // Time passes: ends what took too long.
  void sweep(uint32_t now_s);
  // No further request after the one under way.
  void drain();
  bool idle() const { return state_ == State::kHead && stash_.empty(); }
  bool closed() const { return state_ == State::kClosed; }
  size_t list_index = 0;  // in the gateway's list of connections

 private:
  enum class State : uint8_t { kHead, kBody, kAnswering, kLingering, kClosed };

  // connection.cc: reading
  void pump();
  bool fill();
  bool fill_window();
  ssize_t receive(void* memory, size_t bytes);
  size_t consume(const char* base, size_t size);
  size_t consume_head(const char* base, size_t size);
  size_t consume_body(const char* base, size_t size);
  bool speaks_http2() const;
  bool is_http2(std::string_view received);
  void begin();
  void body_arrived(size_t bytes);
  void end_body();
  void body_piece(std::span<const uint8_t> piece) override;
  void discard_input();
  void malformed(int status, const std::string& message);

  // connection_output.cc: answering, closing, time
  void flush();
  bool send_some();
  void finish_answer();
  void linger();
  void set_state(State state);
  void time_out();

  Host* host_;
  Socket socket_;
  HttpParser parser_;
  State state_ = State::kHead;
  bool readable_ = false;     // an edge came, or the last read did not empty the socket
  bool grace_over_ = false;   // input_ended_, seen by one sweep
  bool told_ = false;         // the exchange has been told that its client has probably left
  bool input_ended_ = false;  // the client closed its half
  bool pumping_ = false;
  bool keep_alive_ = true;
  bool fresh_ = true;  // no request has come yet
  bool http10_ = false;
  bool head_only_ = false;  // the answer to HEAD has no body
  bool chunked_ = false;
  bool answer_complete_ = false;  // all of the answer is in out_ and segments_
  bool body_open_ = false;        // bytes of the current request's body are still to come
  bool writing_ = false;          // the client does not take what we have for it
  uint32_t deadline_s_ = 0;
  uint64_t body_left_ = 0;      // of a body of known length
  uint64_t progress_ = 0;       // bytes moved in this state
  uint64_t progress_mark_ = 0;  // at the last look of sweep()
  uint64_t began_ns_ = 0;       // when the request was complete
  Exchange* exchange_ = nullptr;
  Refusal refusal_;

  std::string stash_;        // received but not used up
  size_t stash_parsed_ = 0;  // bytes of an unfinished head that the parser has seen
  std::string out_;          // head and small bodies
  size_t out_sent_ = 0;
  std::vector<iovec> segments_;  // large bodies, after out_
  size_t segment_ = 0;
};

}  // namespace pyserver::gateway
