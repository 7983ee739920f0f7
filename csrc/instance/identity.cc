// Answering by reference.
#include "instance/identity.h"

#include <chrono>
#include <thread>

#include "base/clock.h"

namespace pyserver::instance {

namespace {

void answer(Request& request, const IdentityOptions& options, shm::ResponseBuilder* table) {
  table->clear();
  for (const IdentityPair& pair : options.pairs) {
    const Input* input = request.find_input(pair.input);
    if (input == nullptr || !request.wants(pair.output)) continue;
    table->add_output(pair.output, pair.output_index, input->datatype, input->shape,
                      input->location);
  }
  for (const shm::ParameterEntry& entry : request.table().parameters()) {
    table->add_parameter(request.table().parameter(entry));
  }
  request.link()->respond(request, table->finish(), {}, true);
}

}  // namespace

base::Status run_identity(Executor& executor, const IdentityOptions& options) {
  Batch batch;
  shm::ResponseBuilder table;
  while (true) {
    const Wait wait = executor.next_batch(kForever, &batch);
    if (wait == Wait::kStopped) return {};
    if (wait == Wait::kBroken) return base::internal_error("core's ring is broken");
    if (options.execute_delay_ms > 0) {
      batch.input_end_ns = base::monotonic_ns();
      std::this_thread::sleep_for(std::chrono::milliseconds(options.execute_delay_ms));
      batch.output_start_ns = base::monotonic_ns();
    }
    for (const RequestRef& request : batch.requests) answer(*request, options, &table);
    executor.done(&batch);
  }
}

}  // namespace pyserver::instance
