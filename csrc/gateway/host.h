// What the connections of a gateway share with it, and how they ask it where a request goes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "gateway/counters.h"
#include "gateway/exchange.h"
#include "gateway/http_parser.h"
#include "gateway/loop.h"
#include "gateway/settings.h"
#include "gateway/socket.h"

namespace pyserver::gateway {

class Connection;

// The head of a request; views are valid only while it is being begun.
struct RequestHead {
  const HttpParser* parser = nullptr;  // for those who need every header
  llhttp_method_t method = HTTP_GET;
  std::string_view target;
  bool http10 = false;
  bool chunked = false;
  bool has_content_length = false;
  uint64_t content_length = 0;
  bool expects_continue = false;
  std::string_view content_encoding;
  std::string_view accept_encoding;
  std::optional<std::string_view> inference_header_length;

  // The value of any header; empty when it is not there.
  std::string_view header(std::string_view name) const;
};

// An answer that needs nothing but the end of the body.
struct Refusal {
  int status = 400;
  std::string_view content_type;
  std::string body;
  std::string_view accept_encoding;  // empty: none
  bool now = false;                  // do not wait for the body: answer and close
};

struct Host {
  GatewaySettings settings;
  Counters counters;
  Loop loop;
  uint64_t now_ns = 0;  // of this turn
  uint32_t now_s = 0;
  bool draining = false;
  uint64_t inflated_bytes = 0;  // in this turn
  std::array<char, kReadBytes> read_buffer;

  // Who takes the request; nullptr: *refusal says what to answer.
  virtual Exchange* begin(Connection* connection, const RequestHead& head, Refusal* refusal) = 0;
  // A client that has begun with HTTP/2's preface, which is the first of the bytes it has sent.
  virtual void begin_http2(Socket socket, std::span<const uint8_t> received) = 0;
  // The connection has closed; it may be destroyed after this turn.
  virtual void connection_closed(Connection* connection) = 0;

 protected:
  ~Host() = default;
};

}  // namespace pyserver::gateway
