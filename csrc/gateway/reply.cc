// Heads of answers: one append per part, no formatting library on the hot path.
#include "gateway/reply.h"

#include <charconv>

namespace pyserver::gateway {

namespace {

std::string_view reason(int status) {
  switch (status) {
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 507:
      return "Insufficient Storage";
    default:
      return status < 400 ? "OK" : "Error";
  }
}

}  // namespace

void append_number(std::string* out, uint64_t number) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  out->append(digits, static_cast<size_t>(end - digits));
}

void append_status_line(std::string* out, int status) {
  if (status == 200) {
    out->append("HTTP/1.1 200 OK\r\n");
    return;
  }
  out->append("HTTP/1.1 ");
  append_number(out, static_cast<uint64_t>(status));
  out->push_back(' ');
  out->append(reason(status));
  out->append("\r\n");
}

void append_persistence(std::string* out, Persistence persistence) {
  if (persistence == Persistence::kClose) out->append("Connection: close\r\n");
  if (persistence == Persistence::kKeepAliveExplicit) out->append("Connection: keep-alive\r\n");
}

void append_head(std::string* out, const ReplyHead& head, Persistence persistence) {
  append_status_line(out, head.status);
  if (!head.content_type.empty()) {
    out->append("Content-Type: ").append(head.content_type).append("\r\n");
  }
  if (head.inference_header_length) {
    out->append("Inference-Header-Content-Length: ");
    append_number(out, *head.inference_header_length);
    out->append("\r\n");
  }
  if (!head.content_encoding.empty()) {
    out->append("Content-Encoding: ").append(head.content_encoding).append("\r\n");
  }
  if (!head.accept_encoding.empty()) {
    out->append("Accept-Encoding: ").append(head.accept_encoding).append("\r\n");
  }
  out->append("Content-Length: ");
  append_number(out, head.content_length);
  out->append("\r\n");
  append_persistence(out, persistence);
  out->append("\r\n");
}

}  // namespace pyserver::gateway
