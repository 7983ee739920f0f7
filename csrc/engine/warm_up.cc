// A sample on its way to an instance and back.
#include "engine/warm_up.h"

#include <algorithm>
#include <utility>

#include "engine/engine.h"

namespace pyserver::engine {

base::Status Engine::reserve(uint64_t bytes, SourceRef* memory, std::span<uint8_t>* writable) {
  const std::optional<uint64_t> place = own_memory_.allocate(bytes);
  if (!place) {
    return base::unavailable("core has no memory left for the " + std::to_string(bytes) +
                             " bytes of a warm-up sample");
  }
  *memory = std::make_shared<Source>(this, Source::Kind::kOwn, shm::kCorePeer, *place);
  *writable = {own_region_.data() + *place, bytes};
  return {};
}

base::Status Engine::warm_up(uint32_t handle, uint32_t peer_id, const WarmUp& sample,
                             const SourceRef& tensors, uint64_t now_ns) {
  now_ns_ = now_ns;
  const auto found = models_.find(handle);
  Peer* const instance = peer(peer_id);
  if (found == models_.end() || instance == nullptr || instance->kind != PeerKind::kInstance) {
    return base::internal_error("cannot warm up instance " + std::to_string(peer_id) +
                                " of model handle " + std::to_string(handle) +
                                ": no such model or instance");
  }
  Model* const model = found->second.get();
  std::vector<Request*> requests;
  for (uint32_t index = 0; index < sample.requests(); ++index) {
    Request* const request = requests.emplace_back(make_request(nullptr));
    request->model = model;
    request->enqueue_ns = now_ns;
    request->flags = sample.flags();
    const auto table = sample.table(index, tensors->number, &step_table_);
    if (!place_table(table, &request->table_offset, &request->table_bytes)) {
      for (Request* made : requests) forget_request(made);
      return base::unavailable("core has no memory left for the requests of a warm-up sample");
    }
    request->own_table = true;
    request->sources.push_back(tensors);
  }
  auto made = std::make_unique<Batch>();
  made->id = next_batch_id_++;
  made->model = model;
  made->instance = instance;
  made->dispatched_ns = now_ns;
  made->open = sample.requests();
  made->warm_up = std::make_unique<WarmUpRun>();
  shm::BatchHead head;
  head.request_count = head.batch_size = sample.requests();
  head.batch = made->id;
  send(instance, shm::pack(head));
  for (Request* request : requests) {
    request->warm_up = made->warm_up.get();
    send_execute(made.get(), request, {.slot = static_cast<uint32_t>(made->requests.size())});
  }
  ++instance->executing;
  ++instance->unclosed;
  ++counters_.live_batches;
  instance->batches.emplace(made->id, std::move(made));
  return {};
}

// A response to one of its requests; what they say is thrown away, but for errors.
void Engine::warm_up_answered(const Request& request, const Answer& answer) {
  Peer* const from = answer.from;
  const shm::Response& record = answer.record;
  const bool table = from != nullptr && (record.flags & shm::kEmpty) == 0;
  if ((record.flags & shm::kError) != 0) {
    std::string text = answer.message;
    shm::ResponseView view;
    if (table && view.parse({from->region.data() + record.table_offset, record.table_bytes}).ok())
      text = view.message();
    if (text.empty()) text = "unknown error";
    std::vector<std::string>& errors = request.warm_up->errors;
    if (std::find(errors.begin(), errors.end(), text) == errors.end())
      errors.push_back(std::move(text));
  }
  if (table) return_to(from, record.cookie);
}

void Engine::warmed_up(const Batch& batch) {
  std::string message;
  for (const std::string& error : batch.warm_up->errors) {
    if (!message.empty()) message += "; ";
    message += error;
  }
  events_.push_back({Event::Kind::kWarmedUp, batch.instance->id, std::move(message)});
}

}  // namespace pyserver::engine
