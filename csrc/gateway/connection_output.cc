// The answering half of a connection: writing, ending, and what happens when time passes.
#include <algorithm>
#include <cerrno>
#include <climits>

#include "gateway/connection.h"
#include "protocol/http_infer.h"

namespace pyserver::gateway {

namespace {

constexpr size_t kMaxSegments = 64;  // of one sendmsg
constexpr size_t kKeptBytes = 4096;  // of a buffer, by a connection that waits for its next request

}  // namespace

Persistence Connection::persistence() const {
  if (!keep_alive_ || host_->draining) return Persistence::kClose;
  return http10_ ? Persistence::kKeepAliveExplicit : Persistence::kKeepAlive;
}

void Connection::reply(const ReplyHead& head, std::span<const iovec> body) {
  if (state_ == State::kClosed) return;
  if (body_open_ || host_->draining) keep_alive_ = false;
  set_state(State::kAnswering);
  out_.clear();
  out_sent_ = 0;
  append_head(&out_, head, persistence());
  segments_.clear();
  if (!head_only_) segments_.assign(body.begin(), body.end());
  segment_ = 0;
  answer_complete_ = true;
  flush();
}

void Connection::refuse(int status, std::string_view json_body, std::string_view accept_encoding) {
  if (state_ == State::kClosed) return;
  if (body_open_ || host_->draining) keep_alive_ = false;
  set_state(State::kAnswering);
  ReplyHead head;
  head.status = status;
  head.content_type = kJson;
  head.accept_encoding = accept_encoding;
  head.content_length = json_body.size();
  out_.clear();
  out_sent_ = 0;
  append_head(&out_, head, persistence());
  if (!head_only_) out_.append(json_body);
  segments_.clear();
  segment_ = 0;
  answer_complete_ = true;
  flush();
}

void Connection::stream(bool last) {
  if (state_ == State::kClosed) return;
  if (state_ == State::kBody) set_state(State::kAnswering);
  answer_complete_ = last;
  flush();
}

// Writes as much as the client takes. Called again by EPOLLOUT.
void Connection::flush() {
  while (out_sent_ < out_.size() || segment_ < segments_.size()) {
    if (!send_some()) return;
  }
  writing_ = false;
  out_.clear();
  out_sent_ = 0;
  if (answer_complete_) {
    finish_answer();
  } else {
    deadline_s_ = 0;  // the next part is for the exchange to bring
    if (exchange_ != nullptr) exchange_->drained();
  }
}

// One sendmsg. False: the client takes no more now, or is gone.
bool Connection::send_some() {
  iovec parts[kMaxSegments];
  size_t count = 0;
  if (out_sent_ < out_.size()) parts[count++] = {out_.data() + out_sent_, out_.size() - out_sent_};
  for (size_t at = segment_; at < segments_.size() && count < kMaxSegments; ++at)
    parts[count++] = segments_[at];
  ++host_->counters.send_calls;
  const ssize_t sent = socket_.send({parts, count});
  if (sent < 0) {
    if (errno == EINTR) return true;
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
      close();
      return false;
    }
    if (!writing_) {
      writing_ = true;
      progress_mark_ = progress_;
      deadline_s_ = host_->now_s + host_->settings.write_timeout_s;
    }
    return false;
  }
  auto left = static_cast<size_t>(sent);
  progress_ += left;
  const size_t of_out = std::min(left, out_.size() - out_sent_);
  out_sent_ += of_out;
  left -= of_out;
  while (segment_ < segments_.size() && left >= segments_[segment_].iov_len) {
    left -= segments_[segment_].iov_len;
    ++segment_;
  }
  if (left > 0) {
    segments_[segment_].iov_base = static_cast<char*>(segments_[segment_].iov_base) + left;
    segments_[segment_].iov_len -= left;
  }
  return true;
}

void Connection::finish_answer() {
  answer_complete_ = false;
  segments_.clear();
  segment_ = 0;
  if (out_.capacity() > kKeptBytes) std::string().swap(out_);
  if (stash_.empty() && stash_.capacity() > kKeptBytes) std::string().swap(stash_);
  Exchange* const exchange = exchange_;
  exchange_ = nullptr;
  if (exchange != nullptr) exchange->done();
  if (state_ == State::kClosed) return;
  if (!keep_alive_ || host_->draining) {
    linger();
    return;
  }
  set_state(State::kHead);
  if (!pumping_) pump();
}

// Ends our half; the rest of the input is read and thrown away for a while, see discard_input().
void Connection::linger() {
  if (input_ended_ || (!body_open_ && !readable_ && stash_.empty())) {
    close();
    return;
  }
  socket_.end_output();
  set_state(State::kLingering);
  readable_ = true;
  if (!pumping_) pump();
}

void Connection::close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  Exchange* const exchange = exchange_;
  exchange_ = nullptr;
  if (exchange != nullptr) exchange->abandoned();
  segments_.clear();
  socket_.close();
  host_->connection_closed(this);
}

void Connection::set_state(State state) {
  const GatewaySettings& settings = host_->settings;
  state_ = state;
  progress_ = 0;
  progress_mark_ = 0;
  switch (state) {
    case State::kHead:
      deadline_s_ = host_->now_s + settings.idle_timeout_s;
      break;
    case State::kBody:
      deadline_s_ = host_->now_s + settings.body_timeout_s;
      break;
    case State::kLingering:
      deadline_s_ = host_->now_s + settings.linger_timeout_s;
      break;
    case State::kAnswering:
    case State::kClosed:
      deadline_s_ = 0;
      break;
  }
}

void Connection::sweep(uint32_t now_s) {
  // It closed its half together with the request (see on_events), and still waits a sweep later: rather gone than patient.
  if (input_ended_ && !told_ && state_ == State::kAnswering && exchange_ != nullptr && !writing_) {
    told_ = grace_over_;
    grace_over_ = true;
    if (told_) exchange_->client_left();
  }
  if (state_ == State::kClosed) return;
  if (deadline_s_ == 0 || now_s < deadline_s_) return;
  // A large body holds much of our region, so it has to move faster than a small one.
  const uint64_t enough = std::max(kMinProgressBytes, state_ == State::kBody ? body_left_ / 64 : 0);
  const bool moving = progress_ - progress_mark_ >= enough;
  progress_mark_ = progress_;
  if (state_ == State::kBody) {
    if (moving || (exchange_ != nullptr && exchange_->full())) {
      deadline_s_ = now_s + host_->settings.body_timeout_s;
      return;
    }
  } else if (state_ == State::kAnswering && moving) {
    deadline_s_ = now_s + host_->settings.write_timeout_s;
    return;
  }
  time_out();
}

void Connection::time_out() {
  const bool waits_for_head = state_ == State::kHead && stash_parsed_ > 0;
  if (state_ != State::kBody && !waits_for_head) {
    if (state_ == State::kAnswering) ++host_->counters.timeouts;
    close();
    return;
  }
  ++host_->counters.timeouts;
  if (exchange_ != nullptr) {
    Exchange* const exchange = exchange_;
    exchange_ = nullptr;
    exchange->abandoned();
  }
  body_open_ = true;
  refuse(408, protocol::error_body(waits_for_head ? "the request's head did not arrive in time"
                                                  : "the request's body did not arrive in time"));
}

void Connection::drain() {
  if (state_ == State::kHead && stash_.empty()) close();
}

}  // namespace pyserver::gateway
