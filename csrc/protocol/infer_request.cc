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
  model::write_table(draft, &table);
  table.header.flags = request->flags;
  table.header.priority = request->priority;
  table.header.timeout_us = request->timeout_us;
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
