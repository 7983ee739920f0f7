// JSON strings and integers, byte for byte as RapidJSON's Writer puts them; doubles are json_double.cc's.
#include "protocol/json_text.h"

#include <array>
#include <charconv>

#include "protocol/http_infer.h"

namespace pyserver::protocol {

namespace {

constexpr char kHexDigits[] = "0123456789ABCDEF";

// 0: as it is; 'u': \u00XX; else the letter behind the backslash.
constexpr std::array<char, 256> kEscapes = [] {
  std::array<char, 256> table{};
  for (size_t control = 0; control < 0x20; ++control) table[control] = 'u';
  table['\b'] = 'b';
  table['\t'] = 't';
  table['\n'] = 'n';
  table['\f'] = 'f';
  table['\r'] = 'r';
  table['"'] = '"';
  table['\\'] = '\\';
  return table;
}();

}  // namespace

void append_json_string(std::string_view text, std::string* out) {
  out->push_back('"');
  size_t plain = 0;
  for (size_t index = 0; index < text.size(); ++index) {
    const auto byte = static_cast<uint8_t>(text[index]);
    const char escape = kEscapes[byte];
    if (escape == 0) continue;
    out->append(text, plain, index - plain);
    plain = index + 1;
    out->push_back('\\');
    out->push_back(escape);
    if (escape == 'u') {
      out->append("00");
      out->push_back(kHexDigits[byte >> 4]);
      out->push_back(kHexDigits[byte & 15]);
    }
  }
  out->append(text, plain, text.size() - plain);
  out->push_back('"');
}

void append_json_double(double value, std::string* out) {
  char text[kMaxNumberText];
  out->append(text, write_json_double(value, text));
}

void append_json_integer(int64_t value, std::string* out) {
  char text[kMaxNumberText];
  out->append(text, std::to_chars(text, text + sizeof text, value).ptr);
}

void append_json_unsigned(uint64_t value, std::string* out) {
  char text[kMaxNumberText];
  out->append(text, std::to_chars(text, text + sizeof text, value).ptr);
}

std::string error_body(std::string_view message) {
  std::string body = "{\"error\":";
  append_json_string(message, &body);
  body += '}';
  return body;
}

}  // namespace pyserver::protocol
