// From a checked draft to the table of a request.
#include "protocol/infer_request.h"

#include <algorithm>

#include "model/spec.h"
#include "shm/cache_key.h"

namespace pyserver::protocol {

void DecodedRequest::clear() {
  blocks.clear();
  clear_content();
}

void DecodedRequest::clear_content() {
  table.clear();
  wishes.clear();
  binary_default = false;
  request_id.clear();
  batch_size = 1;
  flags = 0;
  signature = 0;
  timeout_us = 0;
  priority = 0;
  payload_bytes = 0;
}

void fill_table(const model::RequestDraft& draft, DecodedRequest* request) {
  shm::RequestBuilder& table = request->table;
  table.header.model = draft.model().handle;
  table.header.flags = request->flags;
  table.header.correlation_id = draft.correlation_id;
  table.header.priority = request->priority;
  table.header.timeout_us = request->timeout_us;
  table.header.batch_size = draft.batch_size;
  table.set_request_id(draft.request_id);
  table.set_correlation_text(draft.correlation_text);
  for (const model::InputDraft& input : draft.inputs) {
    const model::TensorSpec& spec = draft.model().inputs[static_cast<size_t>(input.index)];
    table.add_input(spec.name, static_cast<uint16_t>(input.index), input.datatype,
                    draft.dims(input.backend_shape), input.location);
  }
  for (const model::OutputDraft& output : draft.outputs) {
    table.add_output(output.name, static_cast<uint16_t>(output.index));
  }
  request->request_id = draft.request_id;
  request->batch_size = draft.batch_size;
  request->signature = draft.signature;
  request->payload_bytes = draft.payload_bytes;
}

std::span<const uint8_t> finish_table(const model::ModelSpec& model, const OwnMemory& memory,
                                      shm::RequestBuilder* table) {
  const auto is_here = [&](const shm::TensorEntry& input) {
    return input.place == shm::Place::kRegion && input.region == memory.peer;
  };
  // What lies in a client's memory may change while it is read.
  if (model.cache_seed && std::ranges::all_of(table->inputs(), is_here)) {
    const auto bytes_of = [&](const shm::TensorEntry& input) {
      return std::span<const uint8_t>(memory.mapping->data() + input.offset, input.byte_size);
    };
    shm::set_cache_key(*model.cache_seed, bytes_of, table);
  }
  return table->finish();
}

}  // namespace pyserver::protocol
