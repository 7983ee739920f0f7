// The life of a connection and of its streams.
#include "gateway/h2/session.h"

#include <algorithm>
#include <utility>

namespace pyserver::gateway::h2 {

namespace {

constexpr uint32_t kMaxStreams = 4096;
constexpr uint32_t kStreamWindow = 1 << 20;
constexpr int32_t kConnectionWindow = 16 << 20;
// A large message comes in such pieces; each costs a system call.
constexpr uint32_t kMaxFrameBytes = 1 << 18;
// Fewer bytes are cheaper to copy than to receive on their own.
constexpr size_t kLeastWindowBytes = 8192;

// Streams that come to nothing, reset by the client or by us for its faults. A client may well cancel all that it has under way; one
// who opens streams only to have them reset costs more than he asks for (CVE-2023-44487, CVE-2025-8671).
constexpr uint64_t kResets = 10000;
constexpr uint64_t kResetsPerSecond = 100;
// Frames that bring nothing. An ordinary client sends two or three for each frame of data that it gets or sends.
constexpr uint64_t kIdleFrames = 10000;
constexpr uint64_t kIdleFramesPerSecond = 1000;

uint64_t saturated_sum(uint64_t left, uint64_t right) {
  return left > UINT64_MAX - right ? UINT64_MAX : left + right;
}

// As gRPC wants it: "application/grpc", and perhaps a format or a parameter. gRPC-Web is another protocol.
bool is_grpc(std::string_view content_type) {
  constexpr std::string_view kGrpc = "application/grpc";
  if (!content_type.starts_with(kGrpc)) return false;
  content_type.remove_prefix(kGrpc.size());
  return content_type.empty() || content_type[0] == '+' || content_type[0] == ';';
}

}  // namespace

Session::Session(Host* host, FlushQueue* queue, SessionHost* owner, Socket socket)
    : Transport(host, queue, std::move(socket)),
      owner_(owner),
      cursor_(NGHTTP2_CLIENT_MAGIC_LEN),
      idle_since_s_(host->now_s),
      opened_s_(host->now_s),
      heard_s_(host->now_s),
      resets_(kResets, kResetsPerSecond),
      idle_frames_(kIdleFrames, kIdleFramesPerSecond) {
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  // Ours counts more than resets by the client, and says ENHANCE_YOUR_CALM.
  nghttp2_option_set_stream_reset_rate_limit(option, UINT32_MAX, UINT32_MAX);
  nghttp2_session* session = nullptr;
  nghttp2_session_server_new2(&session, callbacks(), static_cast<Transport*>(this), option);
  nghttp2_option_del(option);
  own_session(session);
}

Session::~Session() = default;

void Session::start(std::span<const uint8_t> received) {
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kMaxStreams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, kMaxFrameBytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, host()->settings.max_head_bytes},
  };
  nghttp2_submit_settings(session(), NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(session(), NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
  feed(received);
  if (host()->draining) drain();
}

Stream* Session::open(int32_t id) {
  constexpr size_t kUsualFields = 8;
  auto stream = std::make_unique<Stream>(this, id, host()->now_s);
  stream->fields.reserve(kUsualFields);
  Stream* const made = stream.get();
  made->list_index = streams_.size();
  streams_.push_back(std::move(stream));
  moved_ = true;
  return made;
}

void Session::head_complete(Stream* stream) {
  ++host()->counters.requests;
  stream->incoming.restart(host()->now_s);
  if (stream->head_bytes > host()->settings.max_head_bytes) {
    ++host()->counters.malformed;
    stream->finish(protocol::grpc::StatusCode::kResourceExhausted,
                   "the request's headers are larger than " +
                       std::to_string(host()->settings.max_head_bytes) +
                       " bytes; see --http-max-header-size");
  } else if (stream->method != "POST") {
    stream->refuse("405");
  } else if (!is_grpc(stream->field("content-type"))) {
    stream->refuse("415");
  } else {
    const auto timeout_ns = protocol::grpc::parse_timeout_ns(stream->field("grpc-timeout"));
    if (timeout_ns) stream->deadline_ns = saturated_sum(host()->now_ns, *timeout_ns);
    owner_->begin_call(stream);
  }
}

void Session::input_ended(Stream* stream) {
  if (std::exchange(stream->input_ended, true)) return;
  if (stream->call != nullptr) stream->call->input_ended();
}

void Session::gone(Stream* stream) {
  if (stream->call != nullptr) stream->call->closed();
  owner_->end_call(stream);
  remove(stream);
  if (streams_.empty()) idle_since_s_ = host()->now_s;
}

void Session::remove(Stream* stream) {
  const size_t index = stream->list_index;
  std::swap(streams_[index], streams_.back());
  streams_[index]->list_index = index;
  streams_.pop_back();
}

void Session::count_reset() {
  if (!resets_.spend(host()->now_ns))
    give_up(NGHTTP2_ENHANCE_YOUR_CALM, "too many streams were reset");
}

void Session::count_idle_frame() {
  if (!idle_frames_.spend(host()->now_ns))
    give_up(NGHTTP2_ENHANCE_YOUR_CALM, "too many frames that bring nothing");
}

// gRPC's rule: pings may come often only while something else is going on.
bool Session::count_ping() {
  const GrpcSettings& limits = host()->settings.grpc;
  const bool soon = host()->now_ns - last_ping_ns_ < limits.min_ping_interval_ns;
  last_ping_ns_ = host()->now_ns;
  if (std::exchange(moved_, false) || !soon) {
    ping_strikes_ = 0;
    return true;
  }
  return limits.max_ping_strikes == 0 || ++ping_strikes_ <= limits.max_ping_strikes;
}

void Session::begin_frame(const nghttp2_frame_hd& head) {
  if (head.type != NGHTTP2_HEADERS) return;
  if (head.stream_id > highest_id_) {
    ids_skipped_ |= head.stream_id != highest_id_ + 2;
    highest_id_ = head.stream_id;
  } else if (ids_skipped_ && nghttp2_session_find_stream(session(), head.stream_id) == nullptr) {
    // nghttp2 takes every lower number for a stream that has ended and waits in vain with its client.
    give_up(NGHTTP2_PROTOCOL_ERROR, "the number of a new stream is lower than another's");
  }
}

void Session::give_up(uint32_t error_code, std::string_view why) {
  if (std::exchange(given_up_, true)) return;
  ++host()->counters.malformed;
  nghttp2_submit_goaway(session(), NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session()), error_code,
                        reinterpret_cast<const uint8_t*>(why.data()), why.size());
  nghttp2_session_terminate_session(session(), error_code);
  want_flush();
}

void Session::drain() {
  if (closed() || std::exchange(draining_, true)) return;
  nghttp2_submit_goaway(session(), NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session()), NGHTTP2_NO_ERROR,
                        nullptr, 0);
  want_flush();
}

void Session::end_streams() {
  // Whatever ends is taken off the list later, when its end is on the wire.
  for (const auto& stream : streams_) {
    if (stream->call != nullptr && !stream->finished()) stream->call->end_when_idle();
  }
}

void Session::sweep(uint32_t now_s) {
  const GrpcSettings& limits = host()->settings.grpc;
  sweep_writes(now_s);
  if (closed()) return;
  end_stuck(now_s);
  keep_alive(now_s);
  if (closed()) return;
  const uint32_t age = now_s - opened_s_;
  if (limits.max_age_s > 0 && age >= limits.max_age_s) {
    drain();
    if (limits.max_age_grace_s > 0 && age >= limits.max_age_s + limits.max_age_grace_s) {
      nghttp2_session_terminate_session(session(), NGHTTP2_NO_ERROR);
      want_flush();
    }
  }
  if (streams_.empty() && (draining_ || now_s - idle_since_s_ >= host()->settings.idle_timeout_s)) {
    nghttp2_session_terminate_session(session(), NGHTTP2_NO_ERROR);
    want_flush();
  }
}

// Clients end overdue calls themselves; this is for those that cannot any more.
void Session::overdue(Stream* stream) {
  if (stream->finished()) return;
  ++host()->counters.timeouts;
  stream->finish(protocol::grpc::StatusCode::kDeadlineExceeded, "Deadline Exceeded");
  if (stream->queued_bytes() > 0) stream->reset(NGHTTP2_CANCEL);  // nobody takes the answer
}

void Session::end_stuck(uint32_t now_s) {
  for (const auto& stream : streams_) {
    if (end_stalled(stream.get(), now_s)) {
      ++host()->counters.timeouts;
      if (given_up_) return;
    }
  }
}

// Half a head stops the whole connection; half a message and an answer that is not taken hold memory. So each of them must go on.
bool Session::end_stalled(Stream* stream, uint32_t now_s) {
  const GatewaySettings& limits = host()->settings;
  if (stream->queued_bytes() == 0) {
    stream->outgoing.restart(now_s);
  } else if (stream->outgoing.stalled(now_s, limits.write_timeout_s)) {
    stream->reset(NGHTTP2_CANCEL);
    return true;
  }
  if (stream->finished()) return false;
  if (stream->call == nullptr) {
    if (!stream->incoming.stalled(now_s, limits.head_timeout_s)) return false;
    give_up(NGHTTP2_ENHANCE_YOUR_CALM, "the head of a request did not arrive in time");
    return true;
  }
  if (!stream->call->waits_for_bytes()) {
    stream->incoming.restart(now_s);
    return false;
  }
  if (!stream->incoming.stalled(now_s, limits.body_timeout_s)) return false;
  stream->finish(protocol::grpc::StatusCode::kDeadlineExceeded,
                 "the request message did not arrive in time");
  if (stream->queued_bytes() > 0) stream->reset(NGHTTP2_CANCEL);
  return true;
}

void Session::heard() {
  heard_s_ = host()->now_s;
  ping_sent_s_ = 0;
}

void Session::keep_alive(uint32_t now_s) {
  const GrpcSettings& limits = host()->settings.grpc;
  if (ping_sent_s_ > 0) {
    if (now_s - ping_sent_s_ < limits.keepalive_timeout_s) return;
    ++host()->counters.timeouts;
    close();
    return;
  }
  if (limits.keepalive_s == 0 || now_s - heard_s_ < limits.keepalive_s) return;
  if (streams_.empty() && !limits.keepalive_without_calls) return;
  nghttp2_submit_ping(session(), NGHTTP2_FLAG_NONE, nullptr);
  ping_sent_s_ = now_s;
  want_flush();
}

// Within a message whose length is known the payload of a DATA frame goes straight to the message's memory, and of what follows no
// more is read than the next frame's head, which tells where that frame's payload belongs.
std::span<uint8_t> Session::window(size_t* behind) {
  const size_t left = cursor_.data_left();
  if (left == 0 && cursor_.head_left() == 0) return {};
  const auto* const stream = static_cast<const Stream*>(
      nghttp2_session_get_stream_user_data(session(), cursor_.stream_id()));
  if (stream == nullptr || stream->call == nullptr) return {};
  const std::span<uint8_t> place = stream->call->window();
  if (place.size() < kLeastWindowBytes) return {};
  if (place.size() > left) *behind = left > 0 ? FrameCursor::kHeadBytes : cursor_.head_left();
  return place.first(std::min(place.size(), left));
}

void Session::on_closed() {
  while (!streams_.empty()) gone(streams_.back().get());
  owner_->session_closed(this);
}

}  // namespace pyserver::gateway::h2
