// Dynamic batching as Triton forms batches (spec/05 section 5.2).
//
// The requests at the front of the line up to `cursor_` are the pending batch: same signature, together at most max_batch_size rows.
// The walk goes on where it stopped, so an arrival costs the same however many requests wait; whatever changes the line before the
// cursor makes it begin anew, and it never goes further than one batch.
#include <algorithm>

#include "sched/levels.h"
#include "sched/policy.h"

namespace pyserver::sched {

namespace {

class Dynamic final : public Policy {
 public:
  explicit Dynamic(const PolicySettings& settings)
      : max_rows_(std::max<uint32_t>(1, settings.max_batch_size)),
        preferred_(settings.preferred_batch_sizes),
        delay_us_(settings.max_queue_delay_us),
        held_back_(settings.delay_scheduler),
        line_(settings) {
    if (preferred_.empty()) preferred_.push_back(max_rows_);
    largest_preferred_ = *std::max_element(preferred_.begin(), preferred_.end());
  }

  void add(Request* request, uint64_t now_ns, std::vector<Dropped>* dropped) override {
    if (too_late(request, dropped)) return;
    if (!line_.push(request, now_ns)) {
      dropped->push_back({request, base::Code::kUnavailable, "Exceeds maximum queue size"});
      return;
    }
    if (last_pending_ != nullptr && Levels::goes_before(*request, *last_pending_)) {
      start_over();
    } else if (cursor_ == nullptr || Levels::goes_before(*request, *cursor_)) {
      cursor_ = request;
      full_ = false;
    }
  }

  void remove(Request* request, uint64_t /*now_ns*/, std::vector<Dropped>* /*dropped*/) override {
    line_.remove(request);
    start_over();  // which requests are pending may change altogether
  }

  void drop_expired(uint64_t now_ns, std::vector<Dropped>* dropped) override {
    const size_t before = line_.size();
    if (line_.expiry_ns() <= now_ns && line_.expire(now_ns, dropped)) start_over();
    held_back_ -= std::min<uint64_t>(held_back_, before - line_.size());  // they were there
  }

  void next_batch(InstanceId /*idle*/, uint64_t now_ns, std::vector<Member>* batch) override {
    wake_ns_ = kNever;
    if (line_.size() < held_back_) return;
    held_back_ = 0;
    advance();
    const size_t count = decide(now_ns);
    for (size_t taken = 0; taken < count; ++taken) {
      Request* first = line_.front();
      line_.remove(first);
      batch->push_back({first});
    }
    if (count > 0) start_over();
  }

  uint64_t wake_ns() const override { return wake_ns_; }
  uint64_t expiry_ns() const override { return line_.expiry_ns(); }
  size_t queued() const override { return line_.size(); }
  Request* any() const override { return line_.front(); }

 private:
  void start_over() {
    cursor_ = line_.front();
    last_pending_ = nullptr;
    pending_ = rows_ = preferred_pending_ = 0;
    oldest_ns_ = kNever;
    full_ = false;
  }

  void advance() {
    const Request* const first = last_pending_ != nullptr ? line_.front() : cursor_;
    while (!full_ && cursor_ != nullptr) {
      const uint64_t rows = rows_ + cursor_->rows();
      if (pending_ > 0 && (rows > max_rows_ || cursor_->signature != first->signature)) {
        full_ = true;  // nothing that comes later can join before these have gone
        return;
      }
      if (pending_ > 0 && rows > largest_preferred_ && preferred_pending_ == 0)
        preferred_pending_ = pending_;
      rows_ = rows;
      ++pending_;
      oldest_ns_ = std::min(oldest_ns_, cursor_->enqueue_ns);
      last_pending_ = cursor_;
      cursor_ = line_.next(cursor_);
      if (std::find(preferred_.begin(), preferred_.end(), rows_) != preferred_.end()) {
        preferred_pending_ = pending_;
      }
      full_ = rows_ >= max_rows_;
    }
  }

  // How many requests from the front go now.
  size_t decide(uint64_t now_ns) {
    if (pending_ == 0) return 0;
    const uint64_t due_ns = after_us(oldest_ns_, delay_us_);
    const bool waited = now_ns >= due_ns;
    if (preferred_pending_ > 0 && (delay_us_ == 0 || !waited)) return preferred_pending_;
    if (full_ || rows_ >= largest_preferred_ || waited) return pending_;
    wake_ns_ = due_ns;
    return 0;
  }

  const uint64_t max_rows_;
  std::vector<uint32_t> preferred_;
  uint64_t largest_preferred_ = 1;
  const uint64_t delay_us_;
  uint64_t held_back_;  // nothing goes before so many are there; 0: over

  Levels line_;
  Request* cursor_ = nullptr;        // the first request not yet looked at
  Request* last_pending_ = nullptr;  // the one before it
  size_t pending_ = 0;               // requests before the cursor
  uint64_t rows_ = 0;                // their rows
  uint64_t oldest_ns_ = kNever;      // the first of their arrivals
  size_t preferred_pending_ = 0;     // how many of them make the last preferred size met; 0: none
  bool full_ = false;                // nothing can join them
  uint64_t wake_ns_ = kNever;
};

}  // namespace

std::unique_ptr<Policy> make_dynamic(const PolicySettings& settings) {
  return std::make_unique<Dynamic>(settings);
}

}  // namespace pyserver::sched
