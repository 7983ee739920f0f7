// Whether a loop that has run dry looks again or sleeps until its doorbell rings.
//
// To sleep is dear. Whoever rings pays for interrupting an idle processor, whoever is rung for coming back, and in a virtual machine
// that is tens of microseconds of CPU time and of latency for each hop of a request. So a loop looks on for as long as that has lately
// been the cheaper of the two: while the average wait is not much longer than a wake-up (competitive spinning; guests' halt polling
// goes by the same). Both are measured, so that cheap wake-ups, or requests that are rare, lead to sleep at once.
//
// Between two looks the loop gives way. Where others have work for its processor, no processor is idle and wake-ups are cheap; it
// sleeps then, and under full load nothing is spent on looking.
//
// Waits for an answer to what is under way are told apart from waits for whatever comes next: the former may be short where the
// latter are long, and each kind has a habit of its own.
//
// No clock is read here and nobody yields; both are the loop's to do.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace pyserver::base {

class SpinWait {
 public:
  explicit SpinWait(bool enabled = true) : enabled_(enabled) {}
  bool enabled() const { return enabled_; }

  // The loop has found nothing. True: give way and look again; false: sleep. `answer_due`: something that we asked for is under way.
  bool look_again(uint64_t now_ns, bool answer_due) {
    const uint64_t since_look_ns = now_ns - last_look_ns_;
    last_look_ns_ = now_ns;
    // Once in any case: whoever was given something just now may be about to answer.
    if (dry_since_ns_ == 0) {
      dry_since_ns_ = now_ns;
      habit_ = &habits_[answer_due ? 1 : 0];
      return true;
    }
    return habit_->spins && since_look_ns < kOthersRanNs && now_ns - dry_since_ns_ < longest_ns();
  }

  // The loop has work, found by looking or after a sleep.
  void found(uint64_t now_ns) {
    if (dry_since_ns_ == 0) return;
    const uint64_t wait_ns = now_ns - dry_since_ns_;
    dry_since_ns_ = 0;
    if (enabled_) learn(now_ns, wait_ns);
  }

  // How long it took from the ring of our doorbell until we ran; 0 is not known.
  void woken_after(uint64_t wakeup_ns) {
    if (wakeup_ns > 0) average(&wakeup_ns_, std::min(wakeup_ns, kDearestWakeupNs));
  }

 private:
  // A longer one says more about a crowded machine than about wake-ups.
  static constexpr uint64_t kDearestWakeupNs = 250'000;
  // A look and a yield that nobody makes use of take 1 us.
  static constexpr uint64_t kOthersRanNs = 20'000;
  static constexpr uint64_t kShortestRestNs = 1'000'000;
  static constexpr uint64_t kLongestRestNs = 1'000'000'000;
  static constexpr uint64_t kSteadyNs = 10'000'000;

  struct Habit {
    bool spins = false;
    uint64_t wait_ns = 0;   // the average, while it spins
    uint64_t since_ns = 0;  // when it last changed
    uint64_t rest_ns = kShortestRestNs;
  };

  // Sleepers slow each other down: where all sleep, a wait is several wake-ups long, and becomes short only when they look on.
  uint64_t longest_ns() const { return 4 * wakeup_ns_; }
  // Twice, because looking on spares the other side its part of the cost, too.
  uint64_t worthwhile_ns() const { return 2 * wakeup_ns_; }

  static void average(uint64_t* value, uint64_t sample) { *value += sample / 8 - *value / 8; }

  void learn(uint64_t now_ns, uint64_t wait_ns) {
    Habit& habit = *habit_;
    if (habit.spins) {
      average(&habit.wait_ns, std::min(wait_ns, longest_ns()));
      if (habit.wait_ns <= worthwhile_ns()) return;
      // It did not pay. After an attempt that failed at once the next one comes later than this one did.
      const bool at_once = now_ns - habit.since_ns < kSteadyNs;
      habit.rest_ns = at_once ? std::min(2 * habit.rest_ns, kLongestRestNs) : kShortestRestNs;
      habit.spins = false;
      habit.since_ns = now_ns;
    } else if (wait_ns < longest_ns() && now_ns - habit.since_ns >= habit.rest_ns) {
      habit.spins = true;
      habit.since_ns = now_ns;
      habit.wait_ns = worthwhile_ns() / 2;
    }
  }

  bool enabled_;
  uint64_t wakeup_ns_ = 0;     // the average of wake-ups
  uint64_t dry_since_ns_ = 0;  // 0: there is work
  uint64_t last_look_ns_ = 0;
  std::array<Habit, 2> habits_;  // of waits for whatever comes, and for answers
  Habit* habit_ = habits_.data();
};

}  // namespace pyserver::base
