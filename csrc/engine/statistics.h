// The counters of one model version, as spec/01 section 1.14 names them. Written by the engine's thread only.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace pyserver::engine {

struct Duration {
  uint64_t count = 0;
  uint64_t ns = 0;
  void add(uint64_t times, uint64_t total_ns) {
    count += times;
    ns += total_ns;
  }
};

struct BatchStatistics {
  Duration compute_input;
  Duration compute_infer;
  Duration compute_output;
};

// Of the responses at one place among those of a decoupled request: the first of each, the second of each, ...
struct ResponseStatistics {
  Duration compute_infer;  // since the response before, or since the batch was sent
  Duration compute_output;
  Duration success;
  Duration fail;
  Duration empty_response;  // the last mark alone
  Duration cancel;
};
// Responses further back are in the sums of their requests only.
inline constexpr uint32_t kMaxResponsesCounted = 1024;

struct ModelStatistics {
  uint64_t last_inference_ms = 0;  // since the epoch; 0: none yet
  uint64_t inference_count = 0;    // rows of successful requests
  uint64_t execution_count = 0;    // batches, successful or not
  Duration success;
  Duration fail;
  Duration queue;
  Duration compute_input;
  Duration compute_infer;
  Duration compute_output;
  Duration cache_hit;                           // requests; looking the answer up
  Duration cache_miss;                          // likewise, and keeping it
  std::map<uint64_t, BatchStatistics> batches;  // by rows
  std::vector<ResponseStatistics> responses;    // of a decoupled model
};

// What is known of a batch when its execution is over and all its requests are answered.
struct FinishedBatch {
  bool executed = false;   // to its end, however its requests were answered
  uint64_t rows = 0;       // of all its requests
  uint64_t successes = 0;  // requests
  uint64_t successful_rows = 0;
  uint64_t success_ns = 0;  // arrival to final response, summed over successes
  uint64_t failures = 0;
  uint64_t fail_ns = 0;
  uint64_t successful_enqueue_ns = 0;  // sum of the arrival times of the successes
  uint64_t compute_start_ns = 0;
  uint64_t compute_input_end_ns = 0;
  uint64_t compute_output_start_ns = 0;
  uint64_t compute_end_ns = 0;
};

// `wall_ms`: now, since the epoch.
void account(const FinishedBatch& batch, uint64_t wall_ms, ModelStatistics* statistics);

}  // namespace pyserver::engine
