// The one way by which answers leave: to whoever asked, and where the model promises it, in the order in which requests came.
#include <utility>

#include "engine/engine.h"

namespace pyserver::engine {

// A sample's request came before all others and stands in no line.
bool Engine::waits_its_turn(const Request& request) {
  return request.model->settings.preserve_ordering && request.model->order_first != &request &&
         request.warm_up == nullptr;
}

void Engine::deliver(Request* request, Answer answer) {
  if (waits_its_turn(*request)) {
    request->held.push_back(std::move(answer));
    return;
  }
  hand_over(request, answer);
  if (request->delivered) leave_order(request);
}

void Engine::deliver_error(Request* request, base::Code code, const std::string& message,
                           uint8_t flags) {
  Answer answer;
  answer.record.flags = static_cast<uint8_t>(flags | shm::kError);
  answer.record.code = static_cast<uint8_t>(code);
  answer.message = message;
  deliver(request, std::move(answer));
}

void Engine::hand_over(Request* request, const Answer& answer) {
  Peer* const from = answer.from;
  const shm::Response& record = answer.record;
  const bool final = (record.flags & shm::kFinal) != 0;
  const bool empty = (record.flags & shm::kEmpty) != 0;
  if (final) request->delivered = true;
  if (request->run != nullptr) return step_answered(request, answer);
  if (request->warm_up != nullptr) return warm_up_answered(*request, answer);
  Peer* to = request->submitter;
  auto flags = static_cast<uint8_t>(record.flags & ~shm::kReleasedFlag);
  if (final && request->released) flags |= shm::kReleasedFlag;
  if (to == nullptr) {
    throw_away(answer);
  } else if (from == nullptr && answer.cached == nullptr && !empty) {
    send_error(to, request->submitter_ticket, static_cast<base::Code>(record.code), answer.message,
               flags);
  } else {
    shm::Reply reply;
    reply.flags = flags;
    reply.code = record.code;
    reply.ticket = request->submitter_ticket;
    if (answer.cached != nullptr) {
      reply.owner = shm::kCorePeer;
      reply.table_bytes = answer.cached->table_bytes;
      reply.table_offset = answer.cached->table_offset;
      reply.lease = make_lease(nullptr, to, 0);
      leases_[static_cast<uint32_t>(reply.lease)].cached = answer.cached;
    } else if (!empty) {
      reply.owner = from->id;
      reply.table_bytes = record.table_bytes;
      reply.table_offset = record.table_offset;
      reply.lease = make_lease(from, to, record.cookie);
    }
    send(to, shm::pack(reply));
  }
}

// Nobody is there to take it.
void Engine::throw_away(const Answer& answer) {
  if (answer.cached != nullptr) cache_->unpin(answer.cached);
  if (answer.from != nullptr && (answer.record.flags & shm::kEmpty) == 0)
    return_to(answer.from, answer.record.cookie);
}

void Engine::enter_order(Request* request) {
  Model* model = request->model;
  request->order_previous = model->order_last;
  (model->order_last != nullptr ? model->order_last->order_next : model->order_first) = request;
  model->order_last = request;
}

// The request's answer is complete, or it is gone: those behind it may have waited for that.
void Engine::leave_order(Request* request) {
  Model* model = request->model;
  if (model == nullptr || !model->settings.preserve_ordering) return;
  if (request->order_previous == nullptr && model->order_first != request)
    return;  // it left before
  unlink_order(request);
  for (const Answer& held : std::exchange(request->held, {}))
    throw_away(held);  // its turn never came
  while (Request* first = model->order_first) {
    for (const Answer& held : std::exchange(first->held, {})) hand_over(first, held);
    if (!first->delivered) return;
    unlink_order(first);
    finish_if_over(first);
  }
}

void Engine::unlink_order(Request* request) {
  Model* model = request->model;
  (request->order_previous != nullptr ? request->order_previous->order_next : model->order_first) =
      request->order_next;
  (request->order_next != nullptr ? request->order_next->order_previous : model->order_last) =
      request->order_previous;
  request->order_next = request->order_previous = nullptr;
}

// What an instance that is gone had answered and nobody has been given yet is lost with its memory.
void Engine::lose_held_replies(Model* model, const Peer* gone, const std::string& message) {
  for (Request* request = model->order_first; request != nullptr; request = request->order_next) {
    for (Answer& held : request->held) {
      if (held.from != gone) continue;
      held.from = nullptr;
      if ((held.record.flags & shm::kEmpty) != 0) continue;
      held.record.flags |= shm::kError;
      held.record.code = static_cast<uint8_t>(base::Code::kUnavailable);
      held.message = message;
    }
  }
}

}  // namespace pyserver::engine
