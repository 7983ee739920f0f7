// The gateway's limits and time-outs; the command line's settings in the units of this loop.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

namespace pyserver::gateway {

// A category of the API that asks for a header (--http-restricted-api).
struct Restriction {
  std::string header;
  std::string value;
};

enum class CompressionLevel : uint8_t { kNone, kLow, kMedium, kHigh };

struct GrpcSettings {
  bool serve = true;                       // --allow-grpc: takes HTTP/2 connections
  uint32_t max_message_bytes = INT32_MAX;  // of a request, compressed or not
  uint64_t min_ping_interval_ns =
      300'000'000'000;                   // --grpc-http2-min-recv-ping-interval-without-data
  uint32_t max_ping_strikes = 2;         // --grpc-http2-max-ping-strikes; 0: any number
  uint32_t keepalive_s = 7200;           // --grpc-keepalive-time
  uint32_t keepalive_timeout_s = 20;     // --grpc-keepalive-timeout
  bool keepalive_without_calls = false;  // --grpc-keepalive-permit-without-calls
  uint32_t max_age_s = 0;                // --grpc-max-connection-age; 0: for ever
  uint32_t max_age_grace_s = 0;          // --grpc-max-connection-age-grace; 0: for ever
  CompressionLevel compression_level =
      CompressionLevel::kNone;  // --grpc-infer-response-compression-level
  std::map<std::string, Restriction, std::less<>>
      restrictions;  // --grpc-restricted-protocol, by category
};

struct GatewaySettings {
  bool serve_http = true;                // --allow-http: answers HTTP/1.1
  uint64_t max_input_bytes = 64u << 20;  // --http-max-input-size
  uint32_t max_head_bytes = 64u << 10;
  uint32_t max_headers = 256;
  uint32_t max_chunks = 65536;  // non-empty ones of one chunked upload, as Triton allows
  uint32_t max_connections = 16384;
  uint32_t max_inflight = 65536;
  uint32_t max_proxied = 1024;
  uint32_t max_parked = 4096;       // requests that wait for models to be loaded
  uint32_t load_timeout_s = 120;    // --on-demand-load-timeout-secs
  uint64_t keep_bytes = 64u << 20;  // freed memory of our region that stays warm
  uint32_t idle_timeout_s = 600;
  uint32_t head_timeout_s = 30;
  uint32_t body_timeout_s = 60;   // without kMinProgressBytes of progress
  uint32_t write_timeout_s = 60;  // likewise
  uint32_t linger_timeout_s = 5;
  std::map<std::string, Restriction, std::less<>> restrictions;  // by category, as in spec/11
  GrpcSettings grpc;
};

// A body or an answer that moves fewer bytes than this in one time-out is given up: a client that sends a byte a second holds
// nothing for long.
inline constexpr uint64_t kMinProgressBytes = 4096;

// What one recv asks for at most when it does not go into the region. A request up to this size costs one recv; of a larger one at
// most this much is copied.
inline constexpr size_t kReadBytes = 16384;

}  // namespace pyserver::gateway
