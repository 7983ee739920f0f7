// llhttp's callbacks, and the checks of a head that llhttp leaves to its user.
#include "gateway/http_parser.h"

#include <algorithm>

namespace pyserver::gateway {

namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

}  // namespace

bool equals_ignoring_case(std::string_view one, std::string_view other) {
  return one.size() == other.size() &&
         std::equal(one.begin(), one.end(), other.begin(),
                    [](char a, char b) { return lower(a) == lower(b); });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

const llhttp_settings_t* HttpParser::callbacks() {
  static const llhttp_settings_t settings = [] {
    llhttp_settings_t made;
    llhttp_settings_init(&made);
    made.on_url = on_url;
    made.on_header_field = on_name;
    made.on_header_field_complete = on_name_complete;
    made.on_header_value = on_value;
    made.on_headers_complete = on_head;
    made.on_body = on_body;
    made.on_chunk_header = on_chunk;
    made.on_message_complete = on_done;
    return made;
  }();
  return &settings;
}

HttpParser::HttpParser(llhttp_type_t type, const Limits& limits) : limits_(limits) {
  llhttp_init(&parser_, type, callbacks());
  parser_.data = this;
}

void HttpParser::reset() {
  llhttp_reset(&parser_);
  base_ = nullptr;
  target_ = {};
  headers_.clear();
  error_.clear();
  chunks_ = 0;
  trailer_bytes_ = 0;
  name_open_ = false;
  head_done_ = false;
  paused_ = false;
  message_done_ = false;
  too_many_headers_ = false;
}

std::string_view HttpParser::value(size_t index) const {
  return trimmed(view(headers_[index].value));
}

bool HttpParser::extend(Place* place, const char* at, size_t length) const {
  const auto offset = static_cast<uint32_t>(at - base_);
  if (place->length == 0) {
    *place = {offset, static_cast<uint32_t>(length)};
    return true;
  }
  if (place->offset + place->length != offset) return length == 0;
  place->length += static_cast<uint32_t>(length);
  return true;
}

int HttpParser::on_url(llhttp_t* parser, const char* at, size_t length) {
  return self(parser)->extend(&self(parser)->target_, at, length) ? 0 : HPE_USER;
}

int HttpParser::on_name(llhttp_t* parser, const char* at, size_t length) {
  HttpParser* const me = self(parser);
  if (me->head_done_) {  // a trailer: counted and forgotten
    me->trailer_bytes_ += static_cast<uint32_t>(length);
    return me->trailer_bytes_ <= me->limits_.max_trailer_bytes ? 0 : HPE_USER;
  }
  if (!me->name_open_) {
    if (me->headers_.size() >= me->limits_.max_headers) {
      me->too_many_headers_ = true;
      return HPE_USER;
    }
    me->headers_.emplace_back();
    me->name_open_ = true;
  }
  return me->extend(&me->headers_.back().name, at, length) ? 0 : HPE_USER;
}

int HttpParser::on_name_complete(llhttp_t* parser) {
  self(parser)->name_open_ = false;
  return 0;
}

int HttpParser::on_value(llhttp_t* parser, const char* at, size_t length) {
  HttpParser* const me = self(parser);
  if (me->head_done_) {
    me->trailer_bytes_ += static_cast<uint32_t>(length);
    return me->trailer_bytes_ <= me->limits_.max_trailer_bytes ? 0 : HPE_USER;
  }
  if (me->extend(&me->headers_.back().value, at, length)) return 0;
  me->error_ = "a header line is folded";
  return HPE_USER;
}

int HttpParser::on_head(llhttp_t* parser) {
  self(parser)->head_done_ = true;
  return HPE_PAUSED;
}

int HttpParser::on_body(llhttp_t* parser, const char* at, size_t length) {
  self(parser)->target_of_body_->body_piece({reinterpret_cast<const uint8_t*>(at), length});
  return 0;
}

int HttpParser::on_chunk(llhttp_t* parser) {
  HttpParser* const me = self(parser);
  if (parser->content_length == 0 || parser->type != HTTP_REQUEST) return 0;
  if (++me->chunks_ <= me->limits_.max_chunks) return 0;
  me->error_ = "Chunked request body exceeds maximum of " + std::to_string(me->limits_.max_chunks) +
               " non-empty chunks. Send fewer or larger HTTP chunks.";
  return -1;
}

int HttpParser::on_done(llhttp_t* parser) {
  self(parser)->message_done_ = true;
  return HPE_PAUSED;
}

Step HttpParser::head(const char* base, size_t from, size_t size, size_t* used) {
  base_ = base;
  const llhttp_errno_t result = llhttp_execute(&parser_, base + from, size - from);
  if (result == HPE_OK) return Step::kMore;
  if (result != HPE_PAUSED || !head_done_) return fail(result, base + size);
  if (!check_head()) return Step::kError;
  *used = static_cast<size_t>(llhttp_get_error_pos(&parser_) - base);
  parser_.upgrade = 0;  // we speak nothing else, so the body is a body
  paused_ = true;
  return Step::kHead;
}

Step HttpParser::body(const char* data, size_t size, BodyTarget* target, size_t* used) {
  target_of_body_ = target;
  if (paused_) llhttp_resume(&parser_);
  paused_ = false;
  const llhttp_errno_t result = llhttp_execute(&parser_, data, size);
  if (result == HPE_OK) {
    *used = size;
    return Step::kMore;
  }
  if (result != HPE_PAUSED || !message_done_) return fail(result, data + size);
  *used = static_cast<size_t>(llhttp_get_error_pos(&parser_) - data);
  return Step::kDone;
}

Step HttpParser::finish(BodyTarget* target) {
  target_of_body_ = target;
  if (paused_) llhttp_resume(&parser_);
  paused_ = false;
  // An answer whose body lasts to the end of the stream: the end is its proper end.
  if (head_done_ && !message_done_) {
    llhttp_finish(&parser_);
    if (message_done_) return Step::kDone;
  }
  error_ = "the stream ended within a message";
  return Step::kError;
}

// What is left of the ways to make two servers disagree about where a request ends.
bool HttpParser::check_head() {
  if (parser_.type != HTTP_REQUEST) return true;
  if (parser_.http_major == 0) error_ = "a request line must name its version of HTTP";
  uint32_t codings = 0;
  for (size_t index = 0; index < headers_.size(); ++index) {
    if (headers_[index].name.length == 0) error_ = "a header has no name";
    if (headers_[index].name.length != 17 ||
        !equals_ignoring_case(name(index), "transfer-encoding"))
      continue;
    ++codings;
    if (!equals_ignoring_case(value(index), "chunked"))
      error_ = "Transfer-Encoding must be 'chunked'";
  }
  if (codings > 1) error_ = "Transfer-Encoding was given more than once";
  if (codings > 0 && http10()) error_ = "HTTP/1.0 has no Transfer-Encoding";
  if (parser_.method == HTTP_CONNECT) error_ = "CONNECT is not served here";
  return error_.empty();
}

Step HttpParser::fail(llhttp_errno_t error, const char* end) {
  if (too_many_headers_) {
    error_ = "too many request headers";
  } else if (error == HPE_INVALID_CONTENT_LENGTH && !head_done_) {
    error_ = "Unable to parse Content-Length, got: " + content_length_text(end);
  } else if (error_.empty()) {
    const char* const reason = llhttp_get_error_reason(&parser_);
    error_ = std::string("malformed HTTP: ") + (reason != nullptr ? reason : "unexpected bytes");
  }
  return Step::kError;
}

std::string HttpParser::content_length_text(const char* end) const {
  if (headers_.empty()) return {};
  const Place name = headers_.back().name;
  const char* const begin = base_ + name.offset + name.length;
  const char* const stop = std::find(begin, end, '\r');
  std::string_view text(begin, static_cast<size_t>(stop - begin));
  if (text.starts_with(':')) text.remove_prefix(1);
  return std::string(trimmed(text).substr(0, 64));
}

}  // namespace pyserver::gateway
