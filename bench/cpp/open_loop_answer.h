// One HTTP/1.1 answer as its bytes come: a head that says how long the body is, and a body that is
// counted and dropped. Does no I/O.
//
// It knows what servers of inference send and nothing more. What else may be HTTP (chunks, interim
// answers, HTTP/1.0) is junk to it, with words that say so.
#pragma once

#include <strings.h>

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace open_loop {

enum class Progress { kMore, kWhole, kJunk };

class AnswerReader {
 public:
  // The next bytes of the connection. After kWhole or kJunk, `clear` comes first.
  [[nodiscard]] Progress feed(std::string_view bytes) {
    if (!left_) {
      std::string_view text = bytes;
      if (!head_.empty()) text = head_.append(bytes);
      const size_t end = text.find(kHeadEnd);
      if (!starts_well(text)) return junk("an answer that is no HTTP/1.1");
      if (end == text.npos) {
        if (head_.empty()) head_ = bytes;
        return text.size() > kMostHeadBytes ? junk("a head without an end") : Progress::kMore;
      }
      if (!read_head(text.substr(0, end))) return Progress::kJunk;
      bytes = text.substr(end + kHeadEnd.size());
    }
    if (bytes.size() > *left_) return junk("more bytes than the answer's Content-Length");
    *left_ -= bytes.size();
    return *left_ == 0 ? Progress::kWhole : Progress::kMore;
  }

  void clear() {
    head_.clear();  // and keeps its memory
    left_.reset();
    closes_ = false;
  }

  int status() const { return status_; }
  bool closes() const { return closes_; }           // the server said that it closes the connection
  const char* trouble() const { return trouble_; }  // after kJunk

 private:
  static constexpr std::string_view kHeadEnd = "\r\n\r\n";
  static constexpr std::string_view kVersion = "HTTP/1.1 ";
  static constexpr size_t kMostHeadBytes = 64 << 10;

  Progress junk(const char* what) {
    trouble_ = what;
    return Progress::kJunk;
  }

  bool refuse(const char* what) {
    trouble_ = what;
    return false;
  }

  static bool starts_well(std::string_view text) {
    const std::string_view start = text.substr(0, kVersion.size());
    return start == kVersion.substr(0, start.size());
  }

  static bool same(std::string_view text, std::string_view lower) {
    return text.size() == lower.size() &&
           ::strncasecmp(text.data(), lower.data(), text.size()) == 0;
  }

  static std::string_view trimmed(std::string_view text) {
    const size_t begin = text.find_first_not_of(" \t");
    if (begin == text.npos) return {};
    return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
  }

  static std::optional<uint64_t> number(std::string_view text) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
  }

  bool read_head(std::string_view head) {
    size_t line_end = head.find("\r\n");
    const std::string_view status_line = head.substr(0, line_end);
    const auto status = number(status_line.substr(kVersion.size(), 3));
    if (!status || *status < 200 || *status > 599)
      return refuse("an answer without a final status");
    status_ = static_cast<int>(*status);
    std::optional<uint64_t> length;
    while (line_end != head.npos) {
      const size_t begin = line_end + 2;
      line_end = head.find("\r\n", begin);
      const std::string_view line = head.substr(begin, line_end - begin);
      const size_t colon = line.find(':');
      if (colon == line.npos) return refuse("a header without a colon");
      const std::string_view name = line.substr(0, colon);
      const std::string_view value = trimmed(line.substr(colon + 1));
      if (same(name, "content-length")) {
        if (length) return refuse("two Content-Lengths");
        length = number(value);
        if (!length) return refuse("a Content-Length that is no number");
      } else if (same(name, "transfer-encoding")) {
        return refuse("an answer in chunks");
      } else if (same(name, "connection")) {
        closes_ = same(value, "close");
      }
    }
    if (!length) return refuse("an answer without Content-Length");
    left_ = length;
    return true;
  }

  std::string head_;              // only what came before the head was whole
  std::optional<uint64_t> left_;  // of the body; nothing while the head is not whole
  int status_ = 0;
  bool closes_ = false;
  const char* trouble_ = "";
};

}  // namespace open_loop
