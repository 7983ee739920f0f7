// The default policy: no batching, each request is a batch of its own, in order of arrival (Triton's default scheduler).
#include "sched/policy.h"

namespace pyserver::sched {

namespace {

class Direct final : public Policy {
 public:
  explicit Direct(const PolicySettings& settings) : limit_(settings.default_queue.max_queue_size) {}

  void add(Request* request, uint64_t now_ns, std::vector<Dropped>* dropped) override {
    request->enqueue_ns = now_ns;
    if (too_late(request, dropped)) return;
    if (limit_ != 0 && queue_.size() >= limit_) {
      dropped->push_back({request, base::Code::kUnavailable, "Exceeds maximum queue size"});
      return;
    }
    queue_.push_back(request);
  }

  void remove(Request* request, uint64_t /*now_ns*/, std::vector<Dropped>* /*dropped*/) override {
    queue_.remove(request);
  }

  void next_batch(InstanceId /*idle*/, uint64_t /*now_ns*/, std::vector<Member>* batch) override {
    if (queue_.front() == nullptr) return;
    batch->push_back({queue_.front()});
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
