// HTTP/1.1 messages as they come: llhttp (strict) over a contiguous head, then bodies in pieces. No I/O.
//
//   kHead of a request ──> its owner takes a body of known length by itself and calls reset(),
//                     └──> or feeds a chunked body to body() until kDone.
//
// The head must be handed over from its first byte each time, at any address: what the parser remembers are positions in it.
#pragma once

#include <llhttp.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pyserver::gateway {

// Who gets the pieces of a body.
class BodyTarget {
 public:
  virtual void body_piece(std::span<const uint8_t> piece) = 0;

 protected:
  ~BodyTarget() = default;
};

enum class Step : uint8_t { kMore, kHead, kDone, kError };

class HttpParser {
 public:
  struct Limits {
    uint32_t max_headers = 256;
    uint32_t max_chunks = 65536;
    uint32_t max_trailer_bytes = 65536;
  };

  HttpParser(llhttp_type_t type, const Limits& limits);
  HttpParser(const HttpParser&) = delete;
  HttpParser& operator=(const HttpParser&) = delete;

  // Ready for the next message.
  void reset();

  // Parses bytes [from, size) of the message that begins at `base`; the ones before were seen. On kHead *used is where the body begins.
  Step head(const char* base, size_t from, size_t size, size_t* used);
  // Parses a body that llhttp delimits (chunked, or of a response). On kDone *used is where the next message begins.
  Step body(const char* data, size_t size, BodyTarget* target, size_t* used);
  // The stream ended: kDone when that ends the message as it should.
  Step finish(BodyTarget* target);
  // This message has no body whatever its head says (the answer to a HEAD).
  void skip_body() { parser_.flags |= F_SKIPBODY; }

  // After kHead. Views are into the head; header values are trimmed.
  std::string_view target() const { return view(target_); }
  size_t header_count() const { return headers_.size(); }
  std::string_view name(size_t index) const { return view(headers_[index].name); }
  std::string_view value(size_t index) const;
  llhttp_method_t method() const { return static_cast<llhttp_method_t>(parser_.method); }
  int status() const { return parser_.status_code; }
  bool http10() const { return parser_.http_major == 1 && parser_.http_minor == 0; }
  bool keep_alive() const { return llhttp_should_keep_alive(&parser_) != 0; }
  bool chunked() const { return (parser_.flags & F_CHUNKED) != 0; }
  bool has_content_length() const { return (parser_.flags & F_CONTENT_LENGTH) != 0; }
  uint64_t content_length() const { return has_content_length() ? parser_.content_length : 0; }

  // After kError: what to tell the client.
  const std::string& error() const { return error_; }
  bool too_many_headers() const { return too_many_headers_; }

 private:
  struct Place {
    uint32_t offset = 0;
    uint32_t length = 0;
  };
  struct Header {
    Place name;
    Place value;
  };

  static const llhttp_settings_t* callbacks();
  static HttpParser* self(llhttp_t* parser) { return static_cast<HttpParser*>(parser->data); }
  static int on_url(llhttp_t* parser, const char* at, size_t length);
  static int on_name(llhttp_t* parser, const char* at, size_t length);
  static int on_name_complete(llhttp_t* parser);
  static int on_value(llhttp_t* parser, const char* at, size_t length);
  static int on_head(llhttp_t* parser);
  static int on_body(llhttp_t* parser, const char* at, size_t length);
  static int on_chunk(llhttp_t* parser);
  static int on_done(llhttp_t* parser);

  std::string_view view(Place place) const { return {base_ + place.offset, place.length}; }
  // Joins a span to what is known of it; false when it does not follow directly (a folded header line).
  bool extend(Place* place, const char* at, size_t length) const;
  bool check_head();
  Step fail(llhttp_errno_t error, const char* end);
  std::string content_length_text(const char* end) const;

  llhttp_t parser_;
  Limits limits_;
  const char* base_ = nullptr;
  BodyTarget* target_of_body_ = nullptr;
  Place target_;
  std::vector<Header> headers_;
  std::string error_;
  uint32_t chunks_ = 0;
  uint32_t trailer_bytes_ = 0;
  bool name_open_ = false;  // the last name may still grow
  bool head_done_ = false;
  bool paused_ = false;
  bool message_done_ = false;
  bool too_many_headers_ = false;
};

// ASCII only, as header names are.
bool equals_ignoring_case(std::string_view one, std::string_view other);
std::string_view trimmed(std::string_view text);

}  // namespace pyserver::gateway
