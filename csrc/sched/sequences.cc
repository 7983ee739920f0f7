// Arrivals, slots and ends of sequences.
#include "sched/sequences.h"

#include <algorithm>

#include "shm/layout.h"

namespace pyserver::sched {

namespace {

std::string id_text(const Request& request) {
  return request.correlation_text.empty() ? std::to_string(request.correlation_id)
                                          : request.correlation_text;
}

bool has_id(const Request& request) {
  return request.correlation_id != 0 || !request.correlation_text.empty();
}

}  // namespace

Sequences::Sequences(const PolicySettings& settings, uint32_t slots)
    : settings_(settings),
      slots_(slots),
      held_back_(settings.delay_scheduler != 0 || settings.backlog_delay_scheduler != 0) {}

// --- arrivals ---

bool Sequences::refuse(Request* refused, const Sequence* known,
                       std::vector<Dropped>* dropped) const {
  const Request& request = *refused;
  const auto say = [&](base::Code code, std::string message) {
    dropped->push_back({refused, code, std::move(message), false});
    return true;
  };
  const std::string to = "inference request to model '" + settings_.model + "' must specify ";
  if (request.rows() > 1) {
    return say(base::Code::kInvalidArgument,
               to + "batch-size 1 due to requirements of sequence batcher");
  }
  const bool start = (request.flags & shm::kSequenceStart) != 0;
  if (!has_id(request) && !settings_.iterative)
    return say(base::Code::kInvalidArgument, to + "a non-zero or non-empty correlation ID");
  if (known == nullptr && has_id(request) && !start) {
    return say(base::Code::kInvalidArgument,
               "inference request for sequence " + id_text(request) + " to model '" +
                   settings_.model +
                   "' must specify the START flag on the first request of the sequence");
  }
  return (known == nullptr || start) && too_late(refused, dropped);
}

void Sequences::add(Request* request, uint64_t now_ns, std::vector<Dropped>* dropped) {
  request->enqueue_ns = now_ns;
  Sequence* sequence = find(*request);
  if (refuse(request, sequence, dropped)) return;
  if (!has_id(*request)) request->flags |= shm::kSequenceStart;  // iterative: its own sequence
  if (sequence == nullptr) sequence = open(*request, now_ns);
  request->sequence = sequence;
  sequence->queue.push_back(request);
  ++queued_;
  move_to(sequence, Sequence::List::kBusy);
  if ((request->flags & shm::kSequenceEnd) != 0) unmap(sequence);
  if (!sequence->active) {
    if (request->timeout_us == 0) return;
    const uint64_t expires_ns = after_us(now_ns, request->timeout_us);
    if (expires_ns >= sequence->backlog_expires_ns) return;
    backlog_expiries_.erase({sequence->backlog_expires_ns, sequence});
    sequence->backlog_expires_ns = expires_ns;
    backlog_expiries_.emplace(expires_ns, sequence);
  } else if (!sequence->in_flight && sequence->head == nullptr) {
    ready(&instances_.at(sequence->instance), sequence, now_ns);
  }
}

Sequence* Sequences::find(const Request& request) const {
  if (!request.correlation_text.empty()) {
    const auto found = by_text_.find(request.correlation_text);
    return found != by_text_.end() ? found->second : nullptr;
  }
  const auto found = by_id_.find(request.correlation_id);
  return found != by_id_.end() ? found->second : nullptr;
}

Sequence* Sequences::open(const Request& request, uint64_t now_ns) {
  if (spare_.empty()) spare_.push_back(&pool_.emplace_back());
  Sequence* sequence = spare_.back();
  spare_.pop_back();
  *sequence = Sequence{};
  sequence->id = request.correlation_id;
  sequence->text = request.correlation_text;
  ++live_;
  if (has_id(request)) {
    sequence->mapped = true;
    if (sequence->text.empty()) {
      by_id_.emplace(sequence->id, sequence);
    } else {
      by_text_.emplace(sequence->text, sequence);
    }
  }
  if (free_slots_.empty()) {
    sequence->in_backlog = backlog_.insert(backlog_.end(), sequence);
  } else {
    const auto [slot, instance] = *free_slots_.begin();
    free_slots_.erase(free_slots_.begin());
    assign(sequence, &instances_.at(instance), slot, now_ns);
  }
  return sequence;
}

void Sequences::unmap(Sequence* sequence) {
  if (!std::exchange(sequence->mapped, false)) return;
  if (sequence->text.empty()) {
    by_id_.erase(sequence->id);
  } else {
    by_text_.erase(sequence->text);
  }
}

// --- slots ---

void Sequences::assign(Sequence* sequence, Instance* instance, uint32_t slot, uint64_t now_ns) {
  if (sequence->backlog_expires_ns != kNever)
    backlog_expiries_.erase({std::exchange(sequence->backlog_expires_ns, kNever), sequence});
  sequence->active = true;
  sequence->instance = instance->id;
  sequence->slot = slot;
  instance->slots[slot].sequence = sequence;
  if (sequence->queue.size() > 0) ready(instance, sequence, now_ns);
}

void Sequences::free_slot(Sequence* sequence, uint64_t now_ns) {
  if (!std::exchange(sequence->active, false)) return;
  const auto found = instances_.find(sequence->instance);
  if (found == instances_.end()) return;
  found->second.slots[sequence->slot].sequence = nullptr;
  if (backlog_.empty()) {
    free_slots_.emplace(sequence->slot, sequence->instance);
    return;
  }
  Sequence* next = backlog_.front();
  backlog_.pop_front();
  assign(next, &found->second, sequence->slot, now_ns);
}

// The sequence is gone; it has nothing queued.
void Sequences::close(Sequence* sequence, uint64_t now_ns) {
  unmap(sequence);
  move_to(sequence, Sequence::List::kNone);
  if (sequence->active) {
    free_slot(sequence, now_ns);
  } else {
    backlog_expiries_.erase({sequence->backlog_expires_ns, sequence});
    backlog_.erase(sequence->in_backlog);
  }
  sequence->executing = nullptr;
  --live_;
  spare_.push_back(sequence);
}

// After something has left the sequence, or a step of it is over.
void Sequences::settle(Sequence* sequence, uint64_t now_ns) {
  if (sequence->has_queued()) {
    move_to(sequence, Sequence::List::kBusy);
    if (sequence->active && !sequence->in_flight && sequence->head == nullptr)
      ready(&instances_.at(sequence->instance), sequence, now_ns);
  } else if (sequence->in_flight) {
    move_to(sequence, Sequence::List::kNone);
  } else if (sequence->closing) {
    close(sequence, now_ns);
  } else {
    sequence->idle_since_ns = now_ns;
    move_to(sequence, Sequence::List::kIdle);
  }
}

void Sequences::add_instance(InstanceId id, uint64_t now_ns) {
  Instance& instance = instances_[id];
  instance.id = id;
  instance.slots.resize(slots_);
  set_up(&instance);
  for (uint32_t slot = 0; slot < slots_; ++slot) {
    if (backlog_.empty()) {
      free_slots_.emplace(slot, id);
      continue;
    }
    Sequence* next = backlog_.front();
    backlog_.pop_front();
    assign(next, &instance, slot, now_ns);
  }
}

void Sequences::remove_instance(InstanceId id, uint64_t now_ns, std::vector<Dropped>* dropped) {
  const auto found = instances_.find(id);
  if (found == instances_.end()) return;
  for (uint32_t slot = 0; slot < slots_; ++slot) {
    free_slots_.erase({slot, id});
    Sequence* sequence = found->second.slots[slot].sequence;
    if (sequence == nullptr) continue;
    drop_all(sequence, base::Code::kUnavailable,
             "the instance that held the state of sequence " +
                 (sequence->text.empty() ? std::to_string(sequence->id) : sequence->text) +
                 " of model '" + settings_.model + "' is gone; the sequence must start again",
             true, now_ns, dropped);
    found->second.slots[slot].sequence = nullptr;
    unmap(sequence);
    move_to(sequence, Sequence::List::kNone);
    sequence->executing = nullptr;
    --live_;
    spare_.push_back(sequence);
  }
  instances_.erase(found);
}

// --- leaving ---

void Sequences::take_out(Request* request, uint64_t now_ns) {
  Sequence* sequence = request->sequence;
  if (sequence->head == request) {
    unready(&instances_.at(sequence->instance), request, now_ns);
    sequence->head = nullptr;
  } else {
    sequence->queue.remove(request);
  }
  request->sequence = nullptr;
  --queued_;
}

void Sequences::drop_all(Sequence* sequence, base::Code code, const std::string& message,
                         bool prefixed, uint64_t now_ns, std::vector<Dropped>* dropped) {
  while (Request* request = sequence->first()) {
    take_out(request, now_ns);
    dropped->push_back({request, code, message, prefixed});
  }
}

// A sequence does not go on without one of its steps: those behind it go with it.
void Sequences::remove(Request* request, uint64_t now_ns, std::vector<Dropped>* dropped) {
  Sequence* sequence = request->sequence;
  Request* behind = sequence->head == request ? sequence->queue.front() : request->next;
  take_out(request, now_ns);
  while (behind != nullptr) {
    Request* next = behind->next;
    take_out(behind, now_ns);
    dropped->push_back({behind, base::Code::kCancelled, "Request cancelled"});
    behind = next;
  }
  unmap(sequence);
  sequence->closing = true;
  settle(sequence, now_ns);
}

void Sequences::drop_expired(uint64_t now_ns, std::vector<Dropped>* dropped) {
  while (!backlog_expiries_.empty() && backlog_expiries_.begin()->first <= now_ns) {
    Sequence* sequence = backlog_expiries_.begin()->second;
    drop_all(sequence, base::Code::kUnavailable,
             "timeout of the corresponding sequence has been expired", false, now_ns, dropped);
    close(sequence, now_ns);
  }
  while (idle_.front != nullptr &&
         after_us(idle_.front->idle_since_ns, settings_.max_sequence_idle_us) <= now_ns)
    close(idle_.front, now_ns);
}

uint64_t Sequences::expiry_ns() const {
  const uint64_t backlog_ns = backlog_expiries_.empty() ? kNever : backlog_expiries_.begin()->first;
  if (idle_.front == nullptr) return backlog_ns;
  return std::min(backlog_ns, after_us(idle_.front->idle_since_ns, settings_.max_sequence_idle_us));
}

// --- batches ---

bool Sequences::held_back() {
  held_back_ = held_back_ && (queued_ < settings_.delay_scheduler ||
                              backlog_.size() < settings_.backlog_delay_scheduler);
  return held_back_;
}

void Sequences::next_batch(InstanceId idle, uint64_t now_ns, std::vector<Member>* batch) {
  const auto found = instances_.find(idle);
  if (found == instances_.end() || found->second.executing || held_back()) return;
  found->second.wake_ns = kNever;
  form(&found->second, now_ns, batch);
  found->second.executing = !batch->empty();
}

void Sequences::give(Instance* instance, Sequence* sequence, uint64_t now_ns,
                     std::vector<Member>* batch) {
  Request* request = sequence->first();
  if (sequence->head == request) {
    sequence->head = nullptr;  // the policy has taken it out of where ready() put it
  } else {
    sequence->queue.remove(request);
  }
  --queued_;
  Slot& slot = instance->slots[sequence->slot];
  if ((request->flags & shm::kSequenceStart) != 0 && ++slot.generation == 0) ++slot.generation;
  batch->push_back({request, sequence->slot, slot.generation});
  sequence->in_flight = true;
  sequence->again = false;
  sequence->executing = request;
  const bool ends = (request->flags & shm::kSequenceEnd) != 0 && !settings_.iterative;
  if (!ends) return settle(sequence, now_ns);
  close(sequence, now_ns);  // nothing stands behind END: its id was free again when it came
}

void Sequences::batch_over(InstanceId id, std::span<const Member> members, uint64_t now_ns) {
  const auto found = instances_.find(id);
  if (found == instances_.end()) return;
  found->second.executing = false;
  for (const Member& member : members) {
    if (member.generation == 0) continue;
    Sequence* sequence = found->second.slots[member.slot].sequence;
    if (sequence == nullptr || !sequence->in_flight)
      continue;  // it ended, and the slot was given on
    sequence->in_flight = false;
    sequence->executing = nullptr;
    if (settings_.iterative && !sequence->again) {
      unmap(sequence);
      sequence->closing = true;
    }
    settle(sequence, now_ns);
  }
}

void Sequences::requeue(Request* request, uint64_t now_ns, std::vector<Dropped>* dropped) {
  Sequence* sequence = request->sequence;
  if (!settings_.iterative || sequence == nullptr || sequence->executing != request)
    return Policy::requeue(request, now_ns, dropped);
  request->flags &= static_cast<uint8_t>(~(shm::kSequenceStart | shm::kSequenceEnd));
  sequence->again = true;
  sequence->queue.push_back(request);
  ++queued_;
  move_to(sequence, Sequence::List::kBusy);
}

uint64_t Sequences::wake_ns() const {
  uint64_t wake_ns = kNever;
  for (const auto& [id, instance] : instances_) {
    if (!instance.executing) wake_ns = std::min(wake_ns, instance.wake_ns);
  }
  return wake_ns;
}

void Sequences::move_to(Sequence* sequence, Sequence::List list) {
  using List = Sequence::List;
  if (sequence->list == list && list != List::kIdle) return;
  if (sequence->list != List::kNone) {
    Links& from = links(sequence->list);
    (sequence->previous != nullptr ? sequence->previous->next : from.front) = sequence->next;
    (sequence->next != nullptr ? sequence->next->previous : from.back) = sequence->previous;
    sequence->next = sequence->previous = nullptr;
  }
  sequence->list = list;
  if (list == List::kNone) return;
  Links& to = links(list);
  sequence->previous = to.back;
  (to.back != nullptr ? to.back->next : to.front) = sequence;
  to.back = sequence;
}

}  // namespace pyserver::sched
