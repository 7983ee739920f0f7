// One proxied request: the client's head and body to core, core's answer to the client.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "gateway/proxy.h"
#include "protocol/http_infer.h"

namespace pyserver::gateway {

namespace {

// How much of either body may wait here before its sender is stopped.
constexpr size_t kMaxWaiting = 64 * 1024;

// Headers that speak of one connection, not of the message; and what we say in our own words.
bool is_hop_by_hop(std::string_view name) {
  constexpr std::array<std::string_view, 10> kNames = {"connection",
                                                       "keep-alive",
                                                       "proxy-authenticate",
                                                       "proxy-authorization",
                                                       "proxy-connection",
                                                       "te",
                                                       "trailer",
                                                       "transfer-encoding",
                                                       "upgrade",
                                                       "expect"};
  return std::any_of(kNames.begin(), kNames.end(),
                     [name](std::string_view one) { return equals_ignoring_case(name, one); });
}

void append_chunk(std::string* out, std::span<const uint8_t> piece) {
  char digits[16];
  const auto end = std::to_chars(digits, digits + sizeof digits, piece.size(), 16).ptr;
  out->append(digits, static_cast<size_t>(end - digits)).append("\r\n");
  out->append(reinterpret_cast<const char*>(piece.data()), piece.size()).append("\r\n");
}

void append_header(std::string* out, std::string_view name, std::string_view value) {
  out->append(name).append(": ").append(value).append("\r\n");
}

}  // namespace

Upstream::Upstream(ProxyService* service, base::UniqueFd fd)
    : service_(service), fd_(std::move(fd)), parser_(HTTP_RESPONSE, {}) {}

Upstream::~Upstream() { service_->host_->loop.forget(this); }

void Upstream::start(Connection* connection, const RequestHead& head) {
  connection_ = connection;
  head_request_ = head.method == HTTP_HEAD;
  request_chunked_ = head.chunked;
  request_done_ = false;
  answer_begun_ = false;
  answer_chunked_ = false;
  parser_.reset();
  in_.clear();
  in_parsed_ = 0;
  out_.clear();
  out_sent_ = 0;
  out_.append(llhttp_method_name(head.method))
      .append(" ")
      .append(head.target)
      .append(" HTTP/1.1\r\n");
  bool host = false;
  for (size_t index = 0; index < head.parser->header_count(); ++index) {
    const std::string_view name = head.parser->name(index);
    if (is_hop_by_hop(name) || equals_ignoring_case(name, "content-length")) continue;
    host = host || equals_ignoring_case(name, "host");
    append_header(&out_, name, head.parser->value(index));
  }
  if (!host) append_header(&out_, "Host", "pyserver");
  if (head.chunked) append_header(&out_, "Transfer-Encoding", "chunked");
  if (head.has_content_length) {
    out_.append("Content-Length: ");
    append_number(&out_, head.content_length);
    out_.append("\r\n");
  }
  out_.append("\r\n");
}

bool Upstream::full() const { return out_.size() - out_sent_ > kMaxWaiting; }

void Upstream::take(std::span<const uint8_t> bytes) {
  if (request_chunked_) {
    append_chunk(&out_, bytes);
  } else {
    out_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  send_request();
}

void Upstream::body_complete() {
  request_done_ = true;
  if (request_chunked_) out_.append("0\r\n\r\n");
  send_request();
  // Nothing else would wake us for an answer that came early.
  if (readable_) service_->host_->loop.again(this);
}

void Upstream::send_request() {
  const bool was_full = full();
  while (out_sent_ < out_.size()) {
    const ssize_t sent =
        ::send(fd_.get(), out_.data() + out_sent_, out_.size() - out_sent_, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (sent < 0) {
      // Core may have answered and closed without reading all: its answer is still to be read.
      out_sent_ = out_.size();
      readable_ = true;
      service_->host_->loop.again(this);
      break;
    }
    out_sent_ += static_cast<size_t>(sent);
  }
  if (out_sent_ == out_.size()) {
    out_.clear();
    out_sent_ = 0;
  } else if (out_sent_ > kMaxWaiting) {
    out_.erase(0, out_sent_);
    out_sent_ = 0;
  }
  if (was_full && !full() && connection_ != nullptr) connection_->proceed();
}

void Upstream::on_events(uint32_t events) {
  if (!fd_.valid()) return;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) readable_ = true;
  if (connection_ == nullptr) {
    // Nothing is due from core between two requests, so whatever there is to read is its end. (The edge may be an old one.)
    char byte = 0;
    const bool nothing =
        ::recv(fd_.get(), &byte, 1, MSG_PEEK) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    readable_ = false;
    if (!nothing) close();
    return;
  }
  if ((events & EPOLLOUT) != 0 && out_sent_ < out_.size()) send_request();
  if (readable_) read_answer();
}

void Upstream::drained() {
  if (readable_) service_->host_->loop.again(this);
}

// Takes what core has said, as long as the client keeps up.
void Upstream::read_answer() {
  if (reading_) return;
  reading_ = true;
  constexpr int kReadsPerTurn = 64;
  std::array<char, kReadBytes> buffer;
  for (int reads = 0; readable_ && connection_ != nullptr && connection_->unsent() <= kMaxWaiting;
       ++reads) {
    if (reads == kReadsPerTurn) {  // the others get their turn
      service_->host_->loop.again(this);
      break;
    }
    const ssize_t count = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      readable_ = false;
      break;
    }
    if (count <= 0) {
      readable_ = false;
      ended_ = true;
      if (answer_begun_ && parser_.finish(this) == Step::kDone) {
        end_answer();
      } else {
        fail("the control plane ended the connection before it answered");
      }
      break;
    }
    in_.append(buffer.data(), static_cast<size_t>(count));
    const size_t used = use(in_.data(), in_.size());
    in_.erase(0, used);
    if (connection_ != nullptr && answer_begun_ && connection_->unsent() > 0)
      connection_->stream(false);
  }
  reading_ = false;
}

size_t Upstream::use(const char* base, size_t size) {
  size_t used = 0;
  while (used < size && connection_ != nullptr) {
    size_t step_bytes = 0;
    Step step = Step::kMore;
    if (!answer_begun_) {
      step = parser_.head(base + used, in_parsed_, size - used, &step_bytes);
      if (step == Step::kMore) {
        in_parsed_ = size - used;
        return used;
      }
      in_parsed_ = 0;
      if (step == Step::kHead &&
          parser_.status() / 100 == 1) {  // an interim answer: ours has been given already
        parser_.reset();
        used += step_bytes;
        continue;
      }
      if (step == Step::kHead) {
        begin_answer();
        used += step_bytes;
        // An answer without a body is complete now; llhttp says so when it is asked to go on.
        step = parser_.body(base + used, 0, this, &step_bytes);
        if (step == Step::kMore) continue;
        step_bytes = 0;
      }
    } else {
      step = parser_.body(base + used, size - used, this, &step_bytes);
      if (step == Step::kMore) return size;
    }
    if (step == Step::kDone) {
      end_answer();
    } else {
      fail("the control plane's answer is not HTTP");
    }
    return size;
  }
  return used;
}

void Upstream::begin_answer() {
  answer_begun_ = true;
  const int status = parser_.status();
  const bool bodiless = head_request_ || status == 204 || status == 304;
  if (head_request_) parser_.skip_body();
  const bool delimited = parser_.has_content_length() || bodiless;
  keep_ = parser_.keep_alive() && (parser_.chunked() || delimited);
  answer_chunked_ = !delimited && !connection_->http10();
  if ((!delimited && !answer_chunked_) || connection_->body_open())
    connection_->close_after_reply();
  std::string* const out = connection_->stream_buffer();
  out->clear();
  append_status_line(out, status);
  for (size_t index = 0; index < parser_.header_count(); ++index) {
    const std::string_view name = parser_.name(index);
    if (is_hop_by_hop(name) || equals_ignoring_case(name, "server")) continue;
    append_header(out, name, parser_.value(index));
  }
  if (answer_chunked_) append_header(out, "Transfer-Encoding", "chunked");
  append_persistence(out, connection_->persistence());
  out->append("\r\n");
}

void Upstream::body_piece(std::span<const uint8_t> piece) {
  if (connection_ == nullptr || piece.empty()) return;
  if (answer_chunked_) {
    append_chunk(connection_->stream_buffer(), piece);
  } else {
    connection_->stream_buffer()->append(reinterpret_cast<const char*>(piece.data()), piece.size());
  }
}

void Upstream::end_answer() {
  if (answer_chunked_) connection_->stream_buffer()->append("0\r\n\r\n");
  connection_->stream(true);  // done() or abandoned() follows, maybe at once
}

// The client has all of the answer: this connection is free for the next request.
void Upstream::done() {
  connection_ = nullptr;
  if (ended_ || !keep_ || !request_done_ || out_sent_ < out_.size()) {
    close();
    return;
  }
  idle_since_s_ = service_->host_->now_s;
  service_->idle_.push_back(this);
}

void Upstream::abandoned() {
  connection_ = nullptr;
  close();
}

void Upstream::fail(std::string_view why) {
  Connection* const connection = connection_;
  connection_ = nullptr;
  if (connection != nullptr) {
    connection->detach();
    if (answer_begun_) {
      connection->close();  // a cut is the only way left to say that the answer is not whole
    } else {
      connection->refuse(503, protocol::error_body(why));
    }
  }
  close();
}

void Upstream::close() {
  if (!fd_.valid()) return;
  fd_.reset();
  service_->closed(this);
}

}  // namespace pyserver::gateway
