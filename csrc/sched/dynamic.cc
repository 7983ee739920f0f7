// Dynamic batching as Triton forms batches (spec/05 section 5.2).
//
// The requests at the front of the queue up to `cursor_` are the pending batch: same signature, together at most max_batch_size rows.
// The walk goes on where it stopped, so an arrival costs the same however many requests wait.
#include <algorithm>

#include "sched/policy.h"

namespace pyserver::sched {

namespace {

class Dynamic final : public Policy {
 public:
  explicit Dynamic(const PolicySettings& settings)
      : max_rows_(std::max<uint32_t>(1, settings.max_batch_size)),
        preferred_(settings.preferred_batch_sizes),
        delay_ns_(settings.max_queue_delay_us * 1000),
        limit_(settings.default_queue.max_queue_size) {
    if (preferred_.empty()) preferred_.push_back(max_rows_);
    largest_preferred_ = *std::max_element(preferred_.begin(), preferred_.end());
  }

  void add(Request* request, uint64_t now_ns, std::vector<Dropped>* dropped) override {
    request->enqueue_ns = now_ns;
    if (limit_ != 0 && queue_.size() >= limit_) {
      dropped->push_back({request, base::Code::kUnavailable, "Exceeds maximum queue size"});
      return;
    }
    queue_.push_back(request);
    if (cursor_ == nullptr) cursor_ = request;
  }

  void remove(Request* request, uint64_t /*now_ns*/, std::vector<Dropped>* /*dropped*/) override {
    queue_.remove(request);
    start_over();  // which requests are pending may change altogether
  }

  void next_batch(InstanceId /*idle*/, uint64_t now_ns, std::vector<Member>* batch) override {
    wake_ns_ = kNever;
    advance();
    const size_t count = decide(now_ns);
    for (size_t taken = 0; taken < count; ++taken) {
      batch->push_back({queue_.front()});
      queue_.remove(queue_.front());
    }
    if (count > 0) start_over();
  }

  uint64_t wake_ns() const override { return wake_ns_; }
  size_t queued() const override { return queue_.size(); }
  Request* any() const override { return queue_.front(); }

 private:
  void start_over() {
    cursor_ = queue_.front();
    pending_ = rows_ = preferred_pending_ = 0;
    full_ = false;
  }

  void advance() {
    while (!full_ && cursor_ != nullptr) {
      const uint64_t rows = rows_ + cursor_->rows();
      if (pending_ > 0 && (rows > max_rows_ || cursor_->signature != queue_.front()->signature)) {
        full_ = true;  // nothing that comes later can join before these have gone
        return;
      }
      if (pending_ > 0 && rows > largest_preferred_ && preferred_pending_ == 0)
        preferred_pending_ = pending_;
      rows_ = rows;
      ++pending_;
      cursor_ = cursor_->next;
      if (std::find(preferred_.begin(), preferred_.end(), rows_) != preferred_.end()) {
        preferred_pending_ = pending_;
      }
    }
  }

  // How many requests from the front go now.
  size_t decide(uint64_t now_ns) {
    if (pending_ == 0) return 0;
    const uint64_t due_ns = queue_.front()->enqueue_ns + delay_ns_;
    const bool waited = now_ns >= due_ns;
    if (preferred_pending_ > 0 && (delay_ns_ == 0 || !waited)) return preferred_pending_;
    if (full_ || rows_ >= largest_preferred_ || waited) return pending_;
    wake_ns_ = due_ns;
    return 0;
  }

  const uint64_t max_rows_;
  std::vector<uint32_t> preferred_;
  uint64_t largest_preferred_ = 1;
  const uint64_t delay_ns_;
  const uint64_t limit_;

  Fifo queue_;
  Request* cursor_ = nullptr;     // the first request not yet looked at
  size_t pending_ = 0;            // requests before the cursor
  uint64_t rows_ = 0;             // their rows
  size_t preferred_pending_ = 0;  // how many of them make the last preferred size met; 0: none
  bool full_ = false;             // the request at the cursor cannot join
  uint64_t wake_ns_ = kNever;
};

}  // namespace

std::unique_ptr<Policy> make_dynamic(const PolicySettings& settings) {
  return std::make_unique<Dynamic>(settings);
}

}  // namespace pyserver::sched
