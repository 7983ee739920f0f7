// Scheduling rules as one-line scripts: what arrives and leaves when, and what a policy must say when it is asked.
//
//   arrivals   "A@0 B@5r3s7p2t40 -A@9": request A at 0 us; B at 5 us with 3 rows, signature 7, priority 2 and a time-out of 40 us;
//              A is cancelled at 9 us. c12 is a correlation id, S and E after it its START and END flags: "A@0c12S".
//   answers    "10: AB C !D w100 e50": asked at 10 us the policy gives up D, forms the batches AB and C, and wants to be asked again
//              at 100 us, and to drop something at 50 us. Left out: none, never.
#pragma once

#include <gtest/gtest.h>

#include <cctype>
#include <deque>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "sched/policy.h"
#include "shm/layout.h"

namespace pyserver::sched {

inline std::unique_ptr<Policy> make_policy(const std::string& name,
                                           const PolicySettings& settings) {
  for (const PolicyRow& row : kPolicies) {
    if (name == row.name) return row.make(settings);
  }
  return nullptr;
}

class Script {
 public:
  Script(const std::string& policy, const PolicySettings& settings, const std::string& arrivals)
      : policy_(make_policy(policy, settings)) {
    std::istringstream words(arrivals);
    for (std::string word; words >> word;) events_.push_back(parse(word));
  }

  Policy& policy() { return *policy_; }

  // Everything up to `at_us`, then what the policy says, in the form above but without the time.
  std::string ask(uint64_t at_us, InstanceId instance = 1) {
    while (!events_.empty() && events_.front().at_us <= at_us) {
      happen(events_.front());
      events_.pop_front();
    }
    policy_->drop_expired(at_us * 1000, &dropped_);
    std::string said;
    while (true) {
      std::vector<Member> batch;
      policy_->next_batch(instance, at_us * 1000, &batch);
      if (batch.empty()) break;
      said += said.empty() ? "" : " ";
      for (const Member& member : batch) {
        EXPECT_TRUE(member.request == nullptr || !member.request->queued);
        said += member.request == nullptr ? '_' : names_.at(member.request);
      }
      if (policy_->binds_instances()) {
        running_[instance] = batch;
        break;
      }
    }
    for (const Dropped& one : dropped_) {
      EXPECT_FALSE(one.request->queued);
      said += (said.empty() ? "!" : " !") + std::string(1, names_.at(one.request));
      texts_[names_.at(one.request)] = one.message;
    }
    dropped_.clear();
    if (policy_->wake_ns() != kNever) said += " w" + std::to_string(policy_->wake_ns() / 1000);
    if (policy_->expiry_ns() != kNever) said += " e" + std::to_string(policy_->expiry_ns() / 1000);
    return said.empty() || said[0] != ' ' ? said : said.substr(1);
  }

  // The instance has executed what it was given last.
  void over(uint64_t at_us, InstanceId instance = 1) {
    policy_->batch_over(instance, running_[instance], at_us * 1000);
    running_.erase(instance);
  }

  const std::vector<Member>& running(InstanceId instance = 1) { return running_[instance]; }
  const std::string& text(char name) { return texts_[name]; }

 private:
  struct Event {
    uint64_t at_us = 0;
    Request* request = nullptr;
    bool cancel = false;
  };

  Event parse(const std::string& word) {
    std::istringstream in(word);
    Event event;
    if (in.peek() == '-') event.cancel = in.get() != 0;
    const auto name = static_cast<char>(in.get());
    if (!event.cancel) {
      requests_.emplace_back();
      names_[&requests_.back()] = name;
    }
    for (Request& request : requests_) {
      if (names_.at(&request) == name) event.request = &request;
    }
    for (char key = 0; in.get(key);) {
      uint64_t value = 0;
      if (std::isdigit(in.peek()) != 0) in >> value;
      Request& request = *event.request;
      if (key == '@') event.at_us = value;
      if (key == 'r') request.batch_size = static_cast<uint32_t>(value);
      if (key == 's') request.signature = value;
      if (key == 'p') request.priority = value;
      if (key == 't') request.timeout_us = value;
      if (key == 'c') request.correlation_id = value;
      if (key == 'S') request.flags |= shm::kSequenceStart;
      if (key == 'E') request.flags |= shm::kSequenceEnd;
      if (in.eof()) break;
    }
    return event;
  }

  void happen(const Event& event) {
    const uint64_t now_ns = event.at_us * 1000;
    if (!event.cancel) return policy_->add(event.request, now_ns, &dropped_);
    ASSERT_TRUE(event.request->queued) << "cancels " << names_.at(event.request);
    policy_->remove(event.request, now_ns, &dropped_);
  }

  std::unique_ptr<Policy> policy_;
  std::deque<Request> requests_;
  std::map<Request*, char> names_;
  std::deque<Event> events_;
  std::vector<Dropped> dropped_;
  std::map<char, std::string> texts_;
  std::map<InstanceId, std::vector<Member>> running_;
};

struct ScriptRow {
  const char* name;
  PolicySettings settings;
  const char* arrivals;
  std::vector<const char*> answers;
};

// Runs a row whose policy does not bind instances.
inline void expect_script(const std::string& policy, const ScriptRow& row) {
  Script script(policy, row.settings, row.arrivals);
  for (const std::string answer : row.answers) {
    const size_t colon = answer.find(':');
    const std::string expected = answer.size() > colon + 2 ? answer.substr(colon + 2) : "";
    EXPECT_EQ(script.ask(std::stoull(answer)), expected) << "at " << answer;
  }
}

}  // namespace pyserver::sched
