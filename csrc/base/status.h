// The outcome of an operation that may be refused: nothing, or Triton's error code with a message.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace pyserver::base {

// Triton's TRITONSERVER_Error_Code numbers; they travel in records, so they never change.
enum class Code : uint8_t {
  kUnknown = 0,
  kInternal = 1,
  kNotFound = 2,
  kInvalidArgument = 3,
  kUnavailable = 4,
  kUnsupported = 5,
  kAlreadyExists = 6,
  kCancelled = 7,
};

inline constexpr uint8_t kMaxCode = 7;

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message)
      : is_error_(true), code_(code), message_(std::move(message)) {}

  bool ok() const { return !is_error_; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  bool is_error_ = false;
  Code code_ = Code::kUnknown;
  std::string message_;
};

inline Status invalid_argument(std::string message) {
  return Status(Code::kInvalidArgument, std::move(message));
}
inline Status internal_error(std::string message) {
  return Status(Code::kInternal, std::move(message));
}
inline Status not_found(std::string message) { return Status(Code::kNotFound, std::move(message)); }
inline Status unavailable(std::string message) {
  return Status(Code::kUnavailable, std::move(message));
}
inline Status unsupported(std::string message) {
  return Status(Code::kUnsupported, std::move(message));
}
inline Status cancelled(std::string message) {
  return Status(Code::kCancelled, std::move(message));
}

// What HTTP says for a code (spec/00, "Error codes and their mappings").
constexpr int http_status(Code code) {
  switch (code) {
    case Code::kInternal:
      return 500;
    case Code::kNotFound:
      return 404;
    case Code::kUnavailable:
      return 503;
    case Code::kUnsupported:
      return 501;
    case Code::kUnknown:
    case Code::kInvalidArgument:
    case Code::kAlreadyExists:
    case Code::kCancelled:
      return 400;
  }
  return 500;
}

}  // namespace pyserver::base
