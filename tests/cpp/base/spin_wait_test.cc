// When a loop looks on and when it sleeps, by tables of waits; time is passed in.
#include "base/spin_wait.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>

namespace pyserver::base {
namespace {

constexpr uint64_t kWakeupNs = 40'000;
constexpr uint64_t kLookNs = 1'000;

// A loop whose looks take 1 us and that is woken in kWakeupNs.
class Loop {
 public:
  explicit Loop(bool enabled = true) : spin_wait_(enabled) {
    for (int ring = 0; ring < 100; ++ring) spin_wait_.woken_after(kWakeupNs);
  }

  // Runs dry until something comes after `wait_ns`; whether it slept.
  bool sleeps_in(uint64_t wait_ns, bool answer_due = false, uint64_t look_ns = kLookNs) {
    const uint64_t begin_ns = now_ns_;
    looks_ = 0;
    bool slept = false;
    while (now_ns_ - begin_ns < wait_ns && !slept) {
      slept = !spin_wait_.look_again(now_ns_, answer_due);
      ++looks_;
      now_ns_ += look_ns;
    }
    now_ns_ = std::max(now_ns_, begin_ns + wait_ns);
    spin_wait_.found(now_ns_);
    now_ns_ += kLookNs;
    return slept;
  }

  // How many of so many waits ended in sleep.
  int sleeps_in_all(int waits, uint64_t wait_ns, bool answer_due = false) {
    int count = 0;
    for (int wait = 0; wait < waits; ++wait) count += sleeps_in(wait_ns, answer_due) ? 1 : 0;
    return count;
  }

  void pass(uint64_t time_ns) { now_ns_ += time_ns; }
  int looks() const { return looks_; }

 private:
  SpinWait spin_wait_;
  uint64_t now_ns_ = 1'000'000'000;
  int looks_ = 0;
};

TEST(SpinWait, LooksOnceMoreBeforeItSleepsInAnyCase) {
  Loop loop(false);
  EXPECT_TRUE(loop.sleeps_in(5'000'000));
  EXPECT_EQ(loop.looks(), 2);
}

TEST(SpinWait, LooksOnWhereWaitsAreShorterThanWakeUps) {
  Loop loop;
  EXPECT_LE(loop.sleeps_in_all(1000, kWakeupNs / 2), 2);
}

TEST(SpinWait, FindsShortWaitsAlsoWhereSleepersMakeThemLong) {
  Loop loop;
  EXPECT_TRUE(loop.sleeps_in(3 * kWakeupNs));  // all others sleep, too
  EXPECT_FALSE(loop.sleeps_in(kWakeupNs));     // and now they do not
}

TEST(SpinWait, SleepsAtOnceWhereWaitsAreLong) {
  Loop loop;
  EXPECT_GE(loop.sleeps_in_all(1000, 50 * kWakeupNs), 999);
  EXPECT_LE(loop.looks(), 2);
}

TEST(SpinWait, GivesUpWhereWaitsBecomeLong) {
  Loop loop;
  loop.sleeps_in_all(100, kWakeupNs);
  loop.sleeps_in_all(20, 50 * kWakeupNs);
  EXPECT_TRUE(loop.sleeps_in(50 * kWakeupNs));
  EXPECT_LE(loop.looks(), 2);
}

// Three wake-ups long: short enough to be tried, too long to be worth it.
TEST(SpinWait, TriesLessAndLessOftenWhereItDoesNotPay) {
  Loop loop;
  int looked_on = 0;
  for (int wait = 0; wait < 100'000; ++wait) {
    loop.sleeps_in(3 * kWakeupNs);
    looked_on += loop.looks() > 2 ? 1 : 0;
  }
  EXPECT_LT(looked_on, 200);
  EXPECT_GT(looked_on, 10);
}

TEST(SpinWait, HasAHabitForAnswersOfItsOwn) {
  Loop loop;
  for (int request = 0; request < 100; ++request) {
    loop.sleeps_in(kWakeupNs / 4, true);
    EXPECT_TRUE(loop.sleeps_in(50 * kWakeupNs));
  }
  EXPECT_FALSE(loop.sleeps_in(kWakeupNs / 4, true));
}

TEST(SpinWait, SleepsWhereOthersUseItsProcessor) {
  Loop loop;
  loop.sleeps_in_all(100, kWakeupNs);
  ASSERT_FALSE(loop.sleeps_in(kWakeupNs));
  EXPECT_TRUE(loop.sleeps_in(kWakeupNs, false, 30'000));
}

TEST(SpinWait, NeverLooksOnWhereWakeUpsCostNothing) {
  SpinWait spin_wait;
  for (uint64_t now_ns = 1'000'000; now_ns < 100'000'000; now_ns += 10'000) {
    EXPECT_TRUE(spin_wait.look_again(now_ns, false));
    EXPECT_FALSE(spin_wait.look_again(now_ns + 100, false));
    spin_wait.found(now_ns + 200);
  }
}

TEST(SpinWait, IsSwitchedOff) {
  Loop loop(false);
  EXPECT_EQ(loop.sleeps_in_all(1000, kWakeupNs / 2), 1000);
}

}  // namespace
}  // namespace pyserver::base
