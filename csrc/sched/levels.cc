// Priorities, queue sizes and time-outs (spec/05 section 5.2, "Feature" table).
#include "sched/levels.h"

namespace pyserver::sched {

namespace {

// A config may name any number of levels, and requests any of these: empty ones are not kept beyond so many.
constexpr size_t kKeptLevels = 64;

// Triton lets a request only shorten what the model has as a default.
uint64_t timeout_us(const QueuePolicy& policy, const Request& request) {
  const bool own = policy.allow_timeout_override && request.timeout_us != 0 &&
                   request.timeout_us < policy.default_timeout_us;
  return own ? request.timeout_us : policy.default_timeout_us;
}

}  // namespace

Levels::Levels(const PolicySettings& settings)
    : count_(settings.priority_levels),
      default_level_(settings.default_priority_level),
      default_policy_(settings.default_queue),
      policies_(settings.level_queues) {}

uint64_t Levels::level_of(const Request& request) const {
  if (count_ == 0) return 0;
  return request.priority == 0 || request.priority > count_ ? default_level_ : request.priority;
}

Levels::Level& Levels::level(uint64_t number) {
  const auto [found, made] = levels_.try_emplace(number);
  if (made) {
    const auto policy = policies_.find(number);
    found->second.policy = policy != policies_.end() ? &policy->second : &default_policy_;
  }
  return found->second;
}

bool Levels::push(Request* request, uint64_t now_ns) {
  request->enqueue_ns = now_ns;
  request->level = level_of(*request);
  request->delayed = false;
  Level& own = level(request->level);
  const QueuePolicy& policy = *own.policy;
  if (policy.max_queue_size != 0 &&
      own.waiting.size() + own.delayed.size() >= policy.max_queue_size)
    return false;
  const uint64_t timeout = timeout_us(policy, *request);
  request->expires_ns = timeout == 0 ? kNever : after_us(now_ns, timeout);
  if (request->expires_ns != kNever) expiries_.emplace(request->expires_ns, request);
  own.waiting.push_back(request);
  ++size_;
  return true;
}

void Levels::remove(Request* request) {
  Level& own = levels_.find(request->level)->second;
  (request->delayed ? own.delayed : own.waiting).remove(request);
  if (!request->delayed && request->expires_ns != kNever)
    expiries_.erase({request->expires_ns, request});
  --size_;
  if (levels_.size() > kKeptLevels && own.empty()) levels_.erase(request->level);
}

bool Levels::expire(uint64_t now_ns, std::vector<Dropped>* dropped) {
  bool moved = false;
  while (!expiries_.empty() && expiries_.begin()->first <= now_ns) {
    Request* request = expiries_.begin()->second;
    Level& own = levels_.find(request->level)->second;
    moved = true;
    if (own.policy->delay) {
      expiries_.erase(expiries_.begin());
      own.waiting.remove(request);
      request->delayed = true;
      own.delayed.push_back(request);
    } else {
      remove(request);
      dropped->push_back({request, base::Code::kUnavailable, "Request timeout expired"});
    }
  }
  return moved;
}

Request* Levels::front() const {
  for (const auto& [number, level] : levels_) {
    if (level.waiting.front() != nullptr) return level.waiting.front();
    if (level.delayed.front() != nullptr) return level.delayed.front();
  }
  return nullptr;
}

Request* Levels::next(const Request* request) const {
  if (request->next != nullptr) return request->next;
  auto at = levels_.find(request->level);
  if (!request->delayed && at->second.delayed.front() != nullptr) return at->second.delayed.front();
  for (++at; at != levels_.end(); ++at) {
    if (at->second.waiting.front() != nullptr) return at->second.waiting.front();
    if (at->second.delayed.front() != nullptr) return at->second.delayed.front();
  }
  return nullptr;
}

}  // namespace pyserver::sched
