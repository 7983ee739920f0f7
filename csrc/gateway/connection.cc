// The reading half of a connection: what the socket has, in order, to the parser and to the exchange.
#include "gateway/connection.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "protocol/http_infer.h"

namespace pyserver::gateway {

namespace {

// How much one connection may receive before the others get their turn.
constexpr size_t kTurnBytes = 1u << 20;

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

}  // namespace

Connection::Connection(Host* host, Socket socket)
    : host_(host),
      socket_(std::move(socket)),
      parser_(HTTP_REQUEST, {host->settings.max_headers, host->settings.max_chunks,
                             host->settings.max_head_bytes}) {
  readable_ = socket_.encrypted();  // OpenSSL may have read what no event will tell of
  set_state(State::kHead);
}

Connection::~Connection() { host_->loop.forget(this); }

// Once, for everything; nothing is re-armed per request.
base::Status Connection::watch() {
  return host_->loop.watch(socket_.fd(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, this);
}

void Connection::on_events(uint32_t events) {
  if (state_ == State::kClosed) return;
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
    close();
    return;
  }
  if ((events & (EPOLLIN | EPOLLRDHUP)) != 0) readable_ = true;
  if ((events & EPOLLRDHUP) != 0) {
    // Closing one's half right after the request is how some clients say "that was all"; later it says that nobody waits any more.
    constexpr uint64_t kGraceNs = 50'000'000;
    const bool first = !input_ended_;
    input_ended_ = true;
    if (first && state_ == State::kAnswering && exchange_ != nullptr &&
        host_->now_ns - began_ns_ > kGraceNs) {
      told_ = true;
      exchange_->client_left();
    }
  }
  if ((events & EPOLLOUT) != 0 && writing_) flush();
  pump();
}

void Connection::proceed() {
  if (state_ == State::kBody && !pumping_) host_->loop.again(this);
}

// Reads and uses what there is until the socket is empty or an exchange has to be waited for.
void Connection::pump() {
  if (pumping_) return;
  pumping_ = true;
  size_t budget = kTurnBytes;
  while (state_ != State::kClosed && state_ != State::kAnswering) {
    if (state_ == State::kLingering) {
      discard_input();
      break;
    }
    if (state_ == State::kBody && exchange_ != nullptr && exchange_->full()) break;
    if (stash_.size() > stash_parsed_) {
      const size_t used = consume(stash_.data(), stash_.size());
      if (state_ == State::kClosed) break;
      stash_.erase(0, used);
      if (used > 0) continue;
    }
    if (!readable_) break;
    if (budget == 0) {
      host_->loop.again(this);
      break;
    }
    const uint64_t before = progress_;
    if (!fill()) break;
    const uint64_t moved = progress_ - before;
    budget -= std::min<uint64_t>(budget, std::max<uint64_t>(moved, 1));
  }
  pumping_ = false;
}

// One read. False: nothing more to do now.
bool Connection::fill() {
  if (state_ == State::kBody && stash_.empty() && fill_window()) return state_ != State::kClosed;
  if (!stash_.empty()) {  // a head in pieces: goes on where it stopped
    const size_t size = stash_.size();
    stash_.resize(size + kReadBytes);
    const ssize_t count = receive(stash_.data() + size, kReadBytes);
    stash_.resize(size + (count > 0 ? static_cast<size_t>(count) : 0));
    return count > 0;
  }
  const ssize_t count = receive(host_->read_buffer.data(), kReadBytes);
  if (count <= 0) return false;
  const auto size = static_cast<size_t>(count);
  const size_t used = consume(host_->read_buffer.data(), size);
  if (state_ == State::kClosed) return false;
  stash_.assign(host_->read_buffer.data() + used, size - used);
  return true;
}

// Lets the kernel put a body's bytes where they belong. False: the exchange wants them by take().
bool Connection::fill_window() {
  std::span<uint8_t> window = exchange_ != nullptr ? exchange_->window() : std::span<uint8_t>();
  if (chunked_ || window.empty()) return false;
  if (window.size() > body_left_) window = window.first(body_left_);
  const ssize_t count = receive(window.data(), window.size());
  if (count <= 0) return true;
  const auto size = static_cast<size_t>(count);
  host_->counters.region_bytes += size;
  exchange_->received(size);
  body_arrived(size);
  return true;
}

// -1: nothing there; 0: the end. A read that did not fill its memory emptied the socket, so the next edge tells of more.
ssize_t Connection::receive(void* memory, size_t bytes) {
  ++host_->counters.recv_calls;
  const iovec room{memory, bytes};
  bool emptied = false;
  const ssize_t count = socket_.receive({&room, 1}, &emptied);
  if (count > 0) {
    readable_ = !emptied || input_ended_;
    progress_ += static_cast<size_t>(count);
    return count;
  }
  readable_ = false;
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    readable_ = errno == EINTR;
    return -1;
  }
  // The end, between requests or in the middle of one: there is nobody to answer a part of a request.
  close();
  return 0;
}

// Uses bytes [0, size); how many are used up. The rest must be offered again, at the same or another address.
size_t Connection::consume(const char* base, size_t size) {
  size_t used = 0;
  while (used < size) {
    size_t step = 0;
    switch (state_) {
      case State::kHead:
        step = consume_head(base + used, size - used);
        break;
      case State::kBody:
        if (exchange_ != nullptr && exchange_->full()) return used;
        step = consume_body(base + used, size - used);
        break;
      case State::kAnswering:
        return used;
      case State::kLingering:
      case State::kClosed:
        return size;
    }
    if (step == 0) return used;
    used += step;
  }
  return used;
}

bool Connection::speaks_http2() const {
  return host_->settings.grpc.serve && socket_.entrance.http2;
}

// HTTP/1.1 and HTTP/2 share a port: the latter's clients begin with a preface that is no request of the former.
bool Connection::is_http2(std::string_view received) {
  if (!received.starts_with(kPreface)) return false;
  state_ = State::kClosed;
  Socket socket = std::move(socket_);
  host_->loop.unwatch(socket.fd());
  host_->connection_closed(this);
  host_->begin_http2(std::move(socket),
                     {reinterpret_cast<const uint8_t*>(received.data()), received.size()});
  return true;
}

size_t Connection::consume_head(const char* base, size_t size) {
  if (fresh_ && speaks_http2() && stash_parsed_ == 0) {
    const std::string_view received(base, size);
    if (kPreface.starts_with(received) && size < kPreface.size()) return 0;
    if (is_http2(received)) return size;
  }
  if (!host_->settings.serve_http ||
      !socket_.entrance.http1) {  // nothing of the request is looked at
    malformed(400, "HTTP is not served here, only gRPC");
    return size;
  }
  fresh_ = false;
  if (stash_parsed_ == 0) deadline_s_ = host_->now_s + host_->settings.head_timeout_s;
  size_t used = 0;
  const Step step = parser_.head(base, stash_parsed_, size, &used);
  const size_t head_bytes = step == Step::kHead ? used : size;
  if (parser_.too_many_headers() || head_bytes > host_->settings.max_head_bytes) {
    malformed(431, "the request's head is larger than " +
                       std::to_string(host_->settings.max_head_bytes) + " bytes or " +
                       std::to_string(host_->settings.max_headers) + " headers");
    return size;
  }
  if (step == Step::kMore) {
    stash_parsed_ = size;
    return 0;
  }
  stash_parsed_ = 0;
  if (step == Step::kError) {
    malformed(400, parser_.error());
    return size;
  }
  begin();
  return used;
}

void Connection::begin() {
  ++host_->counters.requests;
  RequestHead head;
  head.parser = &parser_;
  head.method = parser_.method();
  head.target = parser_.target();
  head.http10 = http10_ = parser_.http10();
  head.chunked = chunked_ = parser_.chunked();
  head.has_content_length = parser_.has_content_length();
  head.content_length = body_left_ = parser_.content_length();
  keep_alive_ = parser_.keep_alive() && !host_->draining;
  head_only_ = head.method == HTTP_HEAD;
  std::string_view expectation;
  for (size_t index = 0; index < parser_.header_count(); ++index) {
    const std::string_view name = parser_.name(index);
    if (name.size() == 6 && equals_ignoring_case(name, "expect")) {
      expectation = parser_.value(index);
    } else if (name.size() == 15 && equals_ignoring_case(name, "accept-encoding")) {
      head.accept_encoding = parser_.value(index);
    } else if (name.size() == 16 && equals_ignoring_case(name, "content-encoding")) {
      head.content_encoding = parser_.value(index);
    } else if (name.size() == 31 && equals_ignoring_case(name, "inference-header-content-length")) {
      if (!head.inference_header_length) head.inference_header_length = parser_.value(index);
    }
  }
  head.expects_continue = equals_ignoring_case(expectation, "100-continue") && !http10_;
  set_state(State::kBody);
  body_open_ = chunked_ || body_left_ > 0;
  if (!expectation.empty() && !head.expects_continue && !http10_) {
    exchange_ = nullptr;
    refusal_ = {417, kJson, protocol::error_body("Expectation Failed"), {}, true};
  } else {
    exchange_ = host_->begin(this, head, &refusal_);
  }
  if (state_ != State::kBody) return;  // answered already
  if (exchange_ == nullptr && (refusal_.now || head.expects_continue) && body_open_) {
    refuse(refusal_.status, refusal_.body, refusal_.accept_encoding);
    return;
  }
  if (head.expects_continue && body_open_) {
    static constexpr std::string_view kGoOn = "HTTP/1.1 100 Continue\r\n\r\n";
    const iovec part{const_cast<char*>(kGoOn.data()), kGoOn.size()};  // only read
    ++host_->counters.send_calls;
    if (socket_.send({&part, 1}) != static_cast<ssize_t>(kGoOn.size())) {
      close();
      return;
    }
  }
  if (!chunked_) {
    parser_.reset();  // llhttp reads heads only; bodies of known length are ours
    if (body_left_ == 0) end_body();
  }
}

size_t Connection::consume_body(const char* base, size_t size) {
  if (!chunked_) {
    const size_t step = std::min<uint64_t>(size, body_left_);
    if (exchange_ != nullptr) exchange_->take({reinterpret_cast<const uint8_t*>(base), step});
    if (state_ == State::kBody) body_arrived(step);
    return step;
  }
  size_t used = 0;
  const Step step = parser_.body(base, size, this, &used);
  if (state_ != State::kBody) return size;  // the exchange refused the body
  if (step == Step::kMore) return size;
  if (step == Step::kError) {
    malformed(400, parser_.error());
    return size;
  }
  parser_.reset();
  end_body();
  return used;
}

void Connection::body_piece(std::span<const uint8_t> piece) {
  if (state_ == State::kBody && exchange_ != nullptr) exchange_->take(piece);
}

void Connection::body_arrived(size_t bytes) {
  body_left_ -= bytes;
  if (body_left_ == 0) end_body();
}

void Connection::end_body() {
  body_open_ = false;
  began_ns_ = host_->now_ns;
  set_state(State::kAnswering);
  if (exchange_ != nullptr) {
    exchange_->body_complete();
    return;
  }
  ReplyHead head;
  head.status = refusal_.status;
  head.content_type = refusal_.content_type;
  head.accept_encoding = refusal_.accept_encoding;
  head.content_length = refusal_.body.size();
  const iovec body{refusal_.body.data(), refusal_.body.size()};
  reply(head, {&body, 1});
}

// The answer is out and the connection is to end; what the client still sends must be read, or its kernel would throw our answer away.
void Connection::discard_input() {
  stash_.clear();
  for (size_t total = 0; readable_ && state_ == State::kLingering && total < kTurnBytes;
       total += kReadBytes) {
    if (receive(host_->read_buffer.data(), kReadBytes) <= 0) return;
  }
  if (readable_ && state_ == State::kLingering) host_->loop.again(this);
}

void Connection::malformed(int status, const std::string& message) {
  ++host_->counters.malformed;
  if (exchange_ != nullptr) {
    Exchange* const exchange = exchange_;
    exchange_ = nullptr;
    exchange->abandoned();
  }
  body_open_ = true;
  refuse(status, protocol::error_body(message));
}

}  // namespace pyserver::gateway
