// What gRPC says in headers and trailers: status numbers, messages, time-outs. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace pyserver::protocol::grpc {

enum class StatusCode : uint8_t {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// What gRPC says for a code (spec/00, "Error codes and their mappings").
constexpr StatusCode status_code(base::Code code) {
  switch (code) {
    case base::Code::kUnknown:
      return StatusCode::kUnknown;
    case base::Code::kInternal:
      return StatusCode::kInternal;
    case base::Code::kNotFound:
      return StatusCode::kNotFound;
    case base::Code::kInvalidArgument:
      return StatusCode::kInvalidArgument;
    case base::Code::kUnavailable:
      return StatusCode::kUnavailable;
    case base::Code::kUnsupported:
      return StatusCode::kUnimplemented;
    case base::Code::kAlreadyExists:
      return StatusCode::kAlreadyExists;
    case base::Code::kCancelled:
      return StatusCode::kCancelled;
  }
  return StatusCode::kUnknown;
}

// Clients refuse trailers that are too large (8 KiB by default), so a long message is cut.
inline constexpr size_t kMaxStatusMessageBytes = 6144;

// grpc-message: bytes outside of the printable ASCII characters, and '%', as %XX. At most `limit` bytes come back; what does not fit
// is cut behind a whole character, and "..." tells it.
std::string percent_encode(std::string_view message, size_t limit = kMaxStatusMessageBytes);

// grpc-timeout ("100m": at most eight digits and a unit of H, M, S, m, u, n) in nanoseconds; INT64_MAX for what is longer than that.
// Nothing for what is no time-out.
std::optional<uint64_t> parse_timeout_ns(std::string_view text);

}  // namespace pyserver::protocol::grpc
