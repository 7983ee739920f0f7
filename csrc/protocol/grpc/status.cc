// Percent-encoding and the units of time-outs.
#include "protocol/grpc/status.h"

#include <algorithm>

namespace pyserver::protocol::grpc {

namespace {

constexpr std::string_view kCut = "...";

bool is_plain(uint8_t byte) { return byte >= 0x20 && byte <= 0x7e && byte != '%'; }

// The bytes of the UTF-8 character that begins with `first`; 1 where there is none.
size_t character_bytes(uint8_t first) {
  if (first >= 0xf0) return 4;
  if (first >= 0xe0) return 3;
  return first >= 0xc0 ? 2 : 1;
}

void append_encoded(std::string_view character, bool at_an_end, std::string* out) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  for (const char letter : character) {
    const auto byte = static_cast<uint8_t>(letter);
    // Strict parsers of HTTP/2 take no field that begins or ends with a blank.
    if (is_plain(byte) && !(at_an_end && byte == ' ')) {
      out->push_back(letter);
    } else {
      out->push_back('%');
      out->push_back(kDigits[byte >> 4]);
      out->push_back(kDigits[byte & 15]);
    }
  }
}

std::optional<uint64_t> unit_ns(char unit) {
  switch (unit) {
    case 'H':
      return 3'600'000'000'000;
    case 'M':
      return 60'000'000'000;
    case 'S':
      return 1'000'000'000;
    case 'm':
      return 1'000'000;
    case 'u':
      return 1'000;
    case 'n':
      return 1;
    default:
      return std::nullopt;
  }
}

}  // namespace

std::string percent_encode(std::string_view message, size_t limit) {
  std::string out;
  out.reserve(std::min(limit, message.size() + 16));
  size_t may_end = 0;  // where the text can be cut and still leave room to say so
  size_t at = 0;
  while (at < message.size()) {
    const std::string_view character =
        message.substr(at, character_bytes(static_cast<uint8_t>(message[at])));
    if (out.size() + kCut.size() <= limit) may_end = out.size();
    append_encoded(character, at == 0 || at + 1 == message.size(), &out);
    if (out.size() > limit) {
      out.resize(may_end);
      return out.append(kCut, 0, limit - may_end);
    }
    at += character.size();
  }
  return out;
}

std::optional<uint64_t> parse_timeout_ns(std::string_view text) {
  constexpr size_t kMaxDigits = 8;
  if (text.size() < 2 || text.size() > kMaxDigits + 1) return std::nullopt;
  const std::optional<uint64_t> unit = unit_ns(text.back());
  text.remove_suffix(1);
  uint64_t number = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return std::nullopt;
    number = number * 10 + static_cast<uint64_t>(digit - '0');
  }
  if (!unit) return std::nullopt;
  uint64_t ns = 0;
  if (__builtin_mul_overflow(number, *unit, &ns)) return INT64_MAX;
  return std::min<uint64_t>(ns, INT64_MAX);
}

}  // namespace pyserver::protocol::grpc
