// Adding one finished batch to a model's counters.
#include "engine/statistics.h"

namespace pyserver::engine {

namespace {

// Timestamps come from another process: one that runs backwards counts as no time, not as centuries.
uint64_t elapsed(uint64_t from_ns, uint64_t to_ns) { return to_ns > from_ns ? to_ns - from_ns : 0; }

}  // namespace

void account(const FinishedBatch& batch, uint64_t wall_ms, ModelStatistics* statistics) {
  statistics->last_inference_ms = wall_ms;
  statistics->fail.add(batch.failures, batch.fail_ns);
  if (!batch.executed) return;  // its instance died
  const uint64_t input_ns = elapsed(batch.compute_start_ns, batch.compute_input_end_ns);
  const uint64_t infer_ns = elapsed(batch.compute_input_end_ns, batch.compute_output_start_ns);
  const uint64_t output_ns = elapsed(batch.compute_output_start_ns, batch.compute_end_ns);
  const uint64_t times = batch.successes;
  statistics->success.add(times, batch.success_ns);
  statistics->queue.add(times,
                        elapsed(batch.successful_enqueue_ns, times * batch.compute_start_ns));
  statistics->compute_input.add(times, times * input_ns);
  statistics->compute_infer.add(times, times * infer_ns);
  statistics->compute_output.add(times, times * output_ns);
  statistics->inference_count += batch.successful_rows;
  statistics->execution_count += 1;
  BatchStatistics& of_size = statistics->batches[batch.rows];
  of_size.compute_input.add(1, input_ns);
  of_size.compute_infer.add(1, infer_ns);
  of_size.compute_output.add(1, output_ns);
}

}  // namespace pyserver::engine
