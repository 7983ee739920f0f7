// Heads of answers as bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pyserver::gateway {

struct ReplyHead {
  int status = 200;
  std::string_view content_type;  // empty: none
  std::optional<uint64_t> inference_header_length;
  std::string_view content_encoding;  // empty: none
  std::string_view accept_encoding;   // empty: none
  uint64_t content_length = 0;
};

enum class Persistence : uint8_t {
  kKeepAlive,          // HTTP/1.1's default: says nothing
  kKeepAliveExplicit,  // an HTTP/1.0 client asked for it
  kClose,
};

void append_status_line(std::string* out, int status);
void append_persistence(std::string* out, Persistence persistence);
void append_number(std::string* out, uint64_t number);
// Status line, headers and the blank line.
void append_head(std::string* out, const ReplyHead& head, Persistence persistence);

inline constexpr std::string_view kJson = "application/json";
inline constexpr std::string_view kOctets = "application/octet-stream";
inline constexpr std::string_view kPlain = "text/plain";

}  // namespace pyserver::gateway
