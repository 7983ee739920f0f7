// What policies share: the intrusive queue, the end, and what a policy without sequences says of one.
#include "sched/policy.h"

namespace pyserver::sched {

void Fifo::push_back(Request* request) {
  request->next = nullptr;
  request->previous = back_;
  (back_ != nullptr ? back_->next : front_) = request;
  back_ = request;
  request->queued = true;
  ++size_;
}

void Fifo::remove(Request* request) {
  (request->previous != nullptr ? request->previous->next : front_) = request->next;
  (request->next != nullptr ? request->next->previous : back_) = request->previous;
  request->next = request->previous = nullptr;
  request->queued = false;
  --size_;
}

void Policy::requeue(Request* request, uint64_t /*now_ns*/, std::vector<Dropped>* dropped) {
  dropped->push_back({request, base::Code::kInternal,
                      "the model asked to run the request again, which only a model with "
                      "iterative sequences may do"});
}

bool Policy::too_late(Request* request, std::vector<Dropped>* dropped) const {
  if (!stopping_ || request->begun) return false;
  dropped->push_back({request, base::Code::kUnavailable,
                      "Server is stopping, scheduler for model has stopped accepting new inference "
                      "requests",
                      false});
  return true;
}

}  // namespace pyserver::sched
