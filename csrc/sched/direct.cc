// The default policy: no batching, each request is a batch of its own, in order of arrival (Triton's default scheduler).
#include "sched/policy.h"

namespace pyserver::sched {

namespace {

class Direct final : public Policy {
 public:
  explicit Direct(const PolicySettings& settings) : limit_(settings.max_queue_size) {}

  base::Status add(Request* request, uint64_t now_ns) override {
    if (limit_ != 0 && queue_.size() >= limit_)
      return base::unavailable("Exceeds maximum queue size");
    request->enqueue_ns = now_ns;
    queue_.push_back(request);
    return {};
  }

  void remove(Request* request) override { queue_.remove(request); }

  void next_batch(uint64_t /*now_ns*/, std::vector<Request*>* batch) override {
    if (queue_.front() == nullptr) return;
    batch->push_back(queue_.front());
    queue_.remove(queue_.front());
  }

  uint64_t wake_ns() const override { return kNever; }
  size_t queued() const override { return queue_.size(); }
  Request* any() const override { return queue_.front(); }

 private:
  uint64_t limit_;
  Fifo queue_;
};

}  // namespace

std::unique_ptr<Policy> make_direct(const PolicySettings& settings) {
  return std::make_unique<Direct>(settings);
}

}  // namespace pyserver::sched
