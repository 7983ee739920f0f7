// Making calls and taking in their answers.
#include "instance/calls.h"

#include <cstring>
#include <utility>

#include "model/checks.h"
#include "model/shapes.h"
#include "shm/cache_key.h"

namespace pyserver::instance {

Answer::~Answer() {
  if (lease_ == 0) return;
  shm::Return record;
  record.lease = lease_;
  link_->send_now(record);
}

std::optional<std::span<const uint8_t>> Answer::find(uint32_t peer, uint64_t offset,
                                                     uint64_t byte_size,
                                                     const shm::PeerRegions& regions) {
  if (peer == link_->memory()->peer())
    return shm::bytes_at(link_->memory()->mapping(), offset, byte_size);
  for (const auto& [known, region] : regions_) {
    if (known == peer) return shm::bytes_at(*region, offset, byte_size);
  }
  shm::RegionRef region = regions.find(peer);
  if (region == nullptr) return std::nullopt;
  return shm::bytes_at(*regions_.emplace_back(peer, std::move(region)).second, offset, byte_size);
}

base::Status Answer::read(const shm::Reply& reply, const shm::PeerRegions& regions,
                          const model::ModelSpec& model) {
  const auto lost = [&] {
    return base::unavailable("the response of model '" + model.name +
                             "' is no longer there: its process ended");
  };
  const auto code =
      reply.code <= base::kMaxCode ? static_cast<base::Code>(reply.code) : base::Code::kInternal;
  const bool error = (reply.flags & shm::kError) != 0;
  if (error && reply.table_bytes == 0)  // core had no memory left for the words
    return base::Status(code, "the request to model '" + model.name + "' failed");
  const auto table = find(reply.owner, reply.table_offset, reply.table_bytes, regions);
  if (!table) return lost();
  if (base::Status status = table_.parse(*table); !status.ok()) return status;
  if (error) return base::Status(code, std::string(table_.message()));
  for (const shm::TensorEntry& entry : table_.outputs()) {
    const auto bytes = entry.place == shm::Place::kRegion
                           ? find(entry.region, entry.offset, entry.byte_size, regions)
                           : std::nullopt;
    if (!bytes) return lost();
    AnswerOutput& output = outputs_.emplace_back();
    output.name = table_.text(entry.name);
    output.datatype = entry.datatype;
    output.bytes = *bytes;
    output.location = {entry.place, entry.region, entry.offset, entry.byte_size};
    const std::span<const int64_t> shape = table_.shape(entry);
    output.shape.assign(shape.begin(), shape.end());
    const int known = model.output_index(output.name);
    std::vector<int64_t> undone;
    if (known >= 0 && model::undo_reshape(model.outputs[static_cast<size_t>(known)],
                                          model.max_batch_size > 0, shape, &undone)) {
      output.shape = std::move(undone);
    }
    const std::optional<uint64_t> count = element_count(output.shape);
    const uint64_t element = base::element_byte_size(entry.datatype);
    uint64_t expected = 0;
    if (!count || (entry.datatype != base::Datatype::kBytes &&
                   (element == 0 || __builtin_mul_overflow(*count, element, &expected) ||
                    expected != entry.byte_size))) {
      return base::internal_error("output '" + std::string(output.name) + "' of model '" +
                                  model.name +
                                  "' has a byte size that does not follow from its shape");
    }
  }
  return {};
}

AnswerRef Call::take() {
  const std::lock_guard lock(mutex_);
  if (arrived_.empty()) return nullptr;
  AnswerRef answer = std::move(arrived_.front());
  arrived_.pop_front();
  if (arrived_.empty() && !final_) ready_.store(false, std::memory_order_release);
  return answer;
}

bool Call::over() const {
  const std::lock_guard lock(mutex_);
  return final_ && arrived_.empty();
}

base::Status Calls::submit(CallRequest request, std::shared_ptr<Completions> completions,
                           CallRef* made) {
  shm::Submit record;
  if (base::Status status = make_table(request, &record); !status.ok()) return status;
  auto call = std::make_shared<Call>();
  call->model_ = std::move(request.model);
  call->memory_ = std::move(request.memory);
  call->completions_ = std::move(completions);
  if (call->completions_ != nullptr) {
    awaited_.fetch_add(1, std::memory_order_acq_rel);
    call->completions_->expect();
  }
  {
    const std::lock_guard lock(mutex_);
    call->ticket_ = record.ticket = ++last_ticket_;
    calls_.emplace(record.ticket, call);
  }
  *made = std::move(call);
  link_->send_now(record);
  return {};
}

base::Status Calls::make_table(const CallRequest& request, shm::Submit* record) {
  const model::ModelSpec& spec = *request.model;
  model::RequestDraft draft;
  draft.begin(spec);
  draft.request_id = request.request_id;
  draft.correlation_id = request.correlation_id;
  base::Status status = draft.set_correlation_text(request.correlation_text);
  for (const CallInput& input : request.inputs) {
    if (status.ok()) status = draft.add_input(input.name, input.datatype, input.shape);
    if (!status.ok()) return status;
    draft.inputs.back().location = input.location;
    draft.inputs.back().bytes = input.bytes;
    draft.inputs.back().readable = true;
  }
  for (const std::string& output : request.outputs) {
    if (status.ok()) status = draft.add_output(output);
  }
  if (status.ok()) status = model::check(&draft);
  if (!status.ok()) return status;
  shm::RequestBuilder builder;
  model::write_table(draft, &builder);
  builder.header.flags = request.flags;
  builder.header.timeout_us = request.timeout_us;
  builder.header.parent = request.parent;
  for (const shm::Parameter& parameter : request.parameters) builder.add_parameter(parameter);
  if (spec.cache_seed) {
    const auto bytes_of = [&](const shm::TensorEntry& entry) {
      for (const model::InputDraft& input : draft.inputs) {
        if (input.index == entry.index) return input.bytes;
      }
      return std::span<const uint8_t>();
    };
    shm::set_cache_key(*spec.cache_seed, bytes_of, &builder);
  }
  const std::span<const uint8_t> table = builder.finish();
  BufferRef place = link_->memory()->make_buffer(table.size());
  if (place == nullptr) {
    return base::unavailable(
        "the instance's shared memory is exhausted: no room for a request to model '" + spec.name +
        "' (see region-byte-size)");
  }
  std::memcpy(place->data(), table.data(), table.size());
  record->flags = request.flags;
  record->model = spec.handle;
  record->table_offset = place->offset();
  record->table_bytes = static_cast<uint32_t>(table.size());
  record->batch_size = draft.batch_size;
  record->signature = draft.signature;
  record->timeout_us = request.timeout_us;
  record->payload_bytes = draft.payload_bytes;
  request.memory->buffers.push_back(std::move(place));
  return {};
}

void Calls::cancel(const Call& call) {
  shm::Cancel record;
  record.ticket = call.ticket();
  link_->send_now(record);
}

void Calls::drop(Call& call) {
  std::deque<AnswerRef> unwanted;  // given back outside the lock
  const std::lock_guard lock(call.mutex_);
  call.dropped_ = true;
  call.arrived_.swap(unwanted);
}

CallRef Calls::find(uint64_t ticket) {
  const std::lock_guard lock(mutex_);
  const auto found = calls_.find(ticket);
  return found == calls_.end() ? nullptr : found->second;
}

void Calls::replied(const shm::Reply& reply) {
  const CallRef call = find(reply.ticket);
  const auto answer = std::make_shared<Answer>();
  answer->link_ = link_;
  answer->lease_ = reply.lease;  // goes back with the answer, wherever that ends
  if (call == nullptr) return;
  if ((reply.flags & shm::kEmpty) == 0) {
    answer->status_ = answer->read(reply, *regions_, *call->model_);
    answer->request_ = call->memory_;
  }
  {
    const std::lock_guard lock(call->mutex_);
    if (call->final_) return;
    call->final_ = (reply.flags & shm::kFinal) != 0;
    if ((reply.flags & shm::kReleasedFlag) != 0) call->released_ = true;
    if (!call->dropped_) call->arrived_.push_back(answer);
    call->ready_.store(true, std::memory_order_release);
    if (call->completions_ != nullptr) {
      if (call->final_) {
        awaited_.fetch_sub(1, std::memory_order_acq_rel);
        call->completions_->settle();
      }
      call->completions_->add(call->ticket_);
    }
  }
  forget_if_over(call);
}

void Calls::released(uint64_t ticket) {
  const CallRef call = find(ticket);
  if (call == nullptr) return;
  {
    const std::lock_guard lock(call->mutex_);
    call->released_ = true;
  }
  forget_if_over(call);
}

// Its memory is free, but for answers that are still held.
void Calls::forget_if_over(const CallRef& call) {
  std::shared_ptr<CallMemory> memory;  // its parts go outside the locks
  {
    const std::lock_guard lock(call->mutex_);
    if (!call->final_ || !call->released_) return;
    memory = std::move(call->memory_);
  }
  const std::lock_guard lock(mutex_);
  calls_.erase(call->ticket_);
}

size_t Calls::count() const {
  const std::lock_guard lock(mutex_);
  return calls_.size();
}

}  // namespace pyserver::instance
