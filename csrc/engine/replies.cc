// The one way by which answers leave: to whoever asked, and where the model promises it, in the order in which requests came.
#include <utility>

#include "engine/engine.h"

namespace pyserver::engine {

// A sample's request came before all others and stands in no line.
bool Engine::waits_its_turn(const Request& request) {
  return request.model->settings.preserve_ordering && request.model->order_first != &request &&
         request.warm_up == nullptr;
}

void Engine::deliver(Request* request, Peer* from, const shm::Response& record) {
  if (waits_its_turn(*request)) {
    request->held.push_back({from, record, {}});
    return;
  }
  hand_over(request, from, record, {});
  if (request->delivered) leave_order(request);
}

void Engine::deliver_error(Request* request, base::Code code, const std::string& message,
                           uint8_t flags) {
  shm::Response record;
  record.flags = static_cast<uint8_t>(flags | shm::kError);
  record.code = static_cast<uint8_t>(code);
  if (waits_its_turn(*request)) {
    request->held.push_back({nullptr, record, message});
    return;
  }
  hand_over(request, nullptr, record, message);
  if (request->delivered) leave_order(request);
}

// `from` of nullptr: an error of the engine's own, with `message`.
void Engine::hand_over(Request* request, Peer* from, const shm::Response& record,
                       const std::string& message) {
  const bool final = (record.flags & shm::kFinal) != 0;
  const bool empty = (record.flags & shm::kEmpty) != 0;
  if (final) request->delivered = true;
  if (request->run != nullptr) return step_answered(request, from, record, message);
  if (request->warm_up != nullptr) return warm_up_answered(*request, from, record, message);
  Peer* to = request->submitter;
  auto flags = static_cast<uint8_t>(record.flags & ~shm::kReleasedFlag);
  if (final && request->released) flags |= shm::kReleasedFlag;
  if (to == nullptr) {
    if (from != nullptr && !empty) return_to(from, record.cookie);
  } else if (from == nullptr && !empty) {
    send_error(to, request->submitter_ticket, static_cast<base::Code>(record.code), message, flags);
  } else {
    shm::Reply reply;
    reply.flags = flags;
    reply.code = record.code;
    reply.ticket = request->submitter_ticket;
    if (!empty) {
      reply.owner = from->id;
      reply.table_bytes = record.table_bytes;
      reply.table_offset = record.table_offset;
      reply.lease = make_lease(from, to, record.cookie);
    }
    send(to, shm::pack(reply));
  }
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
  for (const HeldReply& held : std::exchange(request->held, {})) {  // its turn never came
    if (held.from != nullptr && (held.record.flags & shm::kEmpty) == 0)
      return_to(held.from, held.record.cookie);
  }
  while (Request* first = model->order_first) {
    for (const HeldReply& held : std::exchange(first->held, {}))
      hand_over(first, held.from, held.record, held.message);
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
    for (HeldReply& held : request->held) {
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
