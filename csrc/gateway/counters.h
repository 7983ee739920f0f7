// What the gateway has done so far. One thread writes them; Python reads a snapshot.
#pragma once

#include <cstdint>

namespace pyserver::gateway {

struct Counters {
  uint64_t requests = 0;        // heads parsed
  uint64_t infer_requests = 0;  // submitted to core
  uint64_t infer_refused = 0;   // answered with an error before they were submitted
  uint64_t proxied = 0;
  uint64_t malformed = 0;  // not HTTP, or over a limit of HTTP's
  uint64_t connections_accepted = 0;
  uint64_t connections_open = 0;
  uint64_t handshakes_failed = 0;    // TLS was not agreed on
  uint64_t connections_refused = 0;  // over the limit: left in the backlog for a while
  uint64_t inflight = 0;             // requests whose memory is still in use
  uint64_t parked = 0;               // of these, or not yet: wait for their model to be loaded
  uint64_t cancelled = 0;            // clients that left while their request ran
  uint64_t timeouts = 0;
  uint64_t region_bytes = 0;    // of bodies, received by the kernel straight into our region
  uint64_t copied_bytes = 0;    // of bodies, copied into our region by us
  uint64_t response_bytes = 0;  // of infer answers, handed to the kernel
  uint64_t recv_calls = 0;
  uint64_t send_calls = 0;
  uint64_t bad_replies = 0;  // records or tables of core's that made no sense
  uint64_t core_losses = 0;
};

}  // namespace pyserver::gateway
