// The rate limiter by itself, as tables: scripts of waits, turns and ends; and what models are refused for.
#include "engine/rate_limiter.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>

namespace pyserver::engine {
namespace {

InstanceLimits on(int32_t device, std::vector<ResourceNeed> needs, uint32_t priority = 1) {
  return {.priority = priority, .device = device, .needs = std::move(needs)};
}
InstanceLimits needs(uint64_t count, const char* resource = "R", uint32_t priority = 1) {
  return on(0, {{resource, count}}, priority);
}
const InstanceLimits kNothing{};

// Instances have one letter, and each is a model of its own. What a script says:
//   load ab       the models are loaded, and accepted
//   wait ab       they have something to execute, in this order
//   turn ab       just these get their turn, in this order, and execute
//   vain ab       the same, but they have nothing to execute after all
//   done ab       they have executed
//   quits ab      they have nothing to execute any more
//   dead ab       their processes are gone
//   unload ab     their models are
//   laps 12       whose turn it is executes at once and waits again; `order` says who did
//   order abc     what laps made
//   total R=2     so much there is of it, on device 0 (R@1: on device 1, R@: as a global resource)
//   held R=2      so much of it is held
struct Row {
  const char* name;
  std::vector<ResourceLimit> limits;
  std::vector<std::pair<char, InstanceLimits>> instances;
  const char* script;
};

class Player {
 public:
  explicit Player(const Row& row)
      : limiter_(row.limits), instances_(row.instances.begin(), row.instances.end()) {}

  void play(const std::string& script) {
    std::istringstream words(script);
    std::string verb;
    std::string object;
    while (words >> verb >> object) {
      SCOPED_TRACE(verb + " " + object);
      carry_out(verb, object);
    }
  }

 private:
  void carry_out(const std::string& verb, const std::string& object) {
    if (verb == "turn" || verb == "vain") {
      std::string seen;
      while (Seat* seat = limiter_.next()) {
        seen += static_cast<char>(seat->occupant);
        verb == "turn" ? limiter_.executes(seat) : limiter_.give_up(seat);
      }
      EXPECT_EQ(seen, object == "-" ? "" : object);
    } else if (verb == "laps") {
      laps(std::stoi(object));
    } else if (verb == "order") {
      EXPECT_EQ(order_, object);
    } else if (verb == "total" || verb == "held") {
      amount(verb, object);
    } else {
      for (const char letter : object) of_one(verb, letter);
    }
  }

  void of_one(const std::string& verb, char letter) {
    if (verb == "load") {
      const InstanceLimits one[] = {instances_.at(letter)};
      const base::Status status = limiter_.add_model(static_cast<uint32_t>(letter), one);
      ASSERT_TRUE(status.ok()) << status.message();
    }
    Seat* const seat = limiter_.seat(static_cast<uint32_t>(letter), 0);
    ASSERT_NE(seat, nullptr);
    if (verb == "load") seat->occupant = static_cast<uint32_t>(letter);
    if (verb == "wait") limiter_.wait(seat);
    if (verb == "done") limiter_.release(seat);
    if (verb == "quits") limiter_.withdraw(seat);
    if (verb == "dead") limiter_.vacate(seat);
    if (verb == "unload") limiter_.remove_model(static_cast<uint32_t>(letter));
  }

  void laps(int count) {
    order_.clear();
    for (int lap = 0; lap < count; ++lap) {
      Seat* const seat = limiter_.next();
      ASSERT_NE(seat, nullptr);
      order_ += static_cast<char>(seat->occupant);
      limiter_.executes(seat);
      limiter_.release(seat);
      limiter_.wait(seat);
    }
  }

  void amount(const std::string& verb, const std::string& object) {
    const size_t equals = object.find('=');
    std::string name = object.substr(0, equals);
    std::optional<int32_t> device = 0;
    if (const size_t at = name.find('@'); at != std::string::npos) {
      device = at + 1 == name.size() ? std::nullopt : std::optional(std::stoi(name.substr(at + 1)));
      name.resize(at);
    }
    const uint64_t wanted = std::stoull(object.substr(equals + 1));
    EXPECT_EQ(verb == "total" ? limiter_.total(name, device) : limiter_.held(name, device), wanted);
  }

  RateLimiter limiter_;
  std::map<char, InstanceLimits> instances_;
  std::string order_;
};

class RateLimiterTable : public testing::TestWithParam<Row> {};

TEST_P(RateLimiterTable, GivesTurns) {
  Player player(GetParam());
  player.play(GetParam().script);
}

const Row kRows[] = {
    {"NobodyWaitsForWhatIsFree", {}, {{'a', needs(2)}}, "load a wait a turn a held R=2"},
    {"NobodyIsGivenATurnUnasked", {}, {{'a', needs(1)}}, "load a turn -"},
    {"DoneGivesBack", {}, {{'a', needs(2)}}, "load a wait a turn a done a held R=0"},
    {"WhoHoldsItKeepsTheOtherWaiting",
     {},
     {{'a', needs(1)}, {'b', needs(1)}},
     "load ab wait ab turn a turn - done a turn b"},
    {"ThereIsAsMuchAsTheOneThatNeedsMost",
     {},
     {{'a', needs(1)}, {'b', needs(3)}, {'c', needs(2)}},
     "load ab total R=3 load c total R=3 wait ac turn ac held R=3"},
    {"TotalsFallWhenAModelGoes",
     {},
     {{'a', needs(1)}, {'b', needs(3)}},
     "load ab total R=3 unload b total R=1 unload a total R=0"},
    {"WhatIsHeldMayBeMoreThanThereIsLeft",
     {},
     {{'a', needs(2)}, {'b', needs(2)}, {'c', needs(4)}},
     "load abc wait ab turn ab unload c total R=2 held R=4 done a wait a turn - done b turn a"},
    {"TotalsRiseForThoseWhoWait",
     {},
     {{'a', needs(1)}, {'b', needs(1)}, {'c', needs(2)}},
     "load ab wait ab turn a load c turn b"},
    {"OneWithoutResourcesNeverWaits",
     {},
     {{'a', needs(1)}, {'b', needs(1)}, {'n', kNothing}},
     "load abn wait abn turn an turn - done n wait n turn n"},
    {"OtherResourcesAreNotWaitedFor",
     {},
     {{'a', needs(1)}, {'b', needs(1)}, {'s', needs(1, "S")}},
     "load abs wait abs turn as"},
    {"AllOrNothing",
     {},
     {{'a', needs(1)}, {'b', on(0, {{"R", 1}, {"S", 1}})}, {'s', needs(1, "S")}},
     "load abs wait a turn a wait b turn - held S=0 done a turn b held S=1 held R=1"},
    {"WhatIsKeptForOneIsNotTakenByTheNext",
     {},
     {{'a', needs(1)}, {'b', on(0, {{"R", 1}, {"S", 1}})}, {'s', needs(1, "S")}},
     "load abs wait abs turn a done a turn b done b turn s"},
    {"ABigOneIsNotOvertakenBySmallOnes",
     {},
     {{'a', needs(1)}, {'b', needs(2)}, {'c', needs(1)}},
     "load abc wait a turn a wait bc turn - done a turn b done b turn c"},
    {"AllThatItNeedsIsKept",
     {{"R", 4}},
     {{'a', needs(2)}, {'b', needs(3)}, {'c', needs(1)}, {'d', needs(1)}},
     "load abcd wait a turn a wait bcd turn - quits b turn cd"},
    {"MoreThanIsKeptIsFree",
     {{"R", 6}, {"S", 1}},
     {{'s', needs(1, "S")}, {'b', on(0, {{"R", 3}, {"S", 1}})}, {'c', needs(1)}, {'d', needs(3)}},
     "load sbcd wait s turn s wait bcd turn c done s turn b turn - done c turn d"},
    {"WhoQuitsGivesWayAtOnce",
     {},
     {{'a', needs(1)}, {'b', needs(2)}, {'c', needs(1)}},
     "load abc wait a turn a wait bc turn - quits b turn c"},
    {"DevicesHaveTheirOwn",
     {},
     {{'a', on(0, {{"R", 1}})}, {'b', on(1, {{"R", 1}})}, {'c', on(1, {{"R", 1}})}},
     "load abc wait abc turn ab held R@0=1 held R@1=1 done b turn c"},
    {"TotalsAreOfADevice",
     {},
     {{'a', on(0, {{"R", 1}})}, {'b', on(1, {{"R", 5}})}},
     "load ab total R@0=1 total R@1=5 total R@=0"},
    {"AGlobalResourceIsOneForAllDevices",
     {},
     {{'a', on(0, {{"G", 1, true}})}, {'b', on(1, {{"G", 1, true}})}},
     "load ab total G@=1 wait ab turn a done a turn b held G@=1"},
    {"ALimitMayBeMoreThanIsNeeded",
     {{"R", 3}},
     {{'a', needs(1)}, {'b', needs(1)}, {'c', needs(1)}, {'d', needs(1)}},
     "load abcd total R=3 wait abcd turn abc done b turn d"},
    {"ALimitOfEveryDevice",
     {{"R", 2}},
     {{'a', on(0, {{"R", 1}})}, {'b', on(7, {{"R", 1}})}},
     "load ab total R@0=2 total R@7=2"},
    {"TheGreaterOfADevicesLimitAndThatOfAll",
     {{"R", 2}, {"R", 5, 1}, {"R", 1, 2}},
     {{'a', on(0, {{"R", 1}})}, {'b', on(1, {{"R", 1}})}, {'c', on(2, {{"R", 1}})}},
     "load abc total R@0=2 total R@1=5 total R@2=2"},
    {"ADeviceMeansNothingForAGlobalLimit",
     {{"G", 4, 3}, {"G", 1, 0}},
     {{'a', on(0, {{"G", 2, true}})}},
     "load a total G@=4"},
    {"TheLastWordOfALimitCounts", {{"R", 5}, {"R", 2}}, {{'a', needs(1)}}, "load a total R=2"},
    {"TheLastWordOfANeedCounts",
     {},
     {{'a', on(0, {{"R", 5}, {"R", 2}})}},
     "load a total R=2 wait a turn a held R=2"},
    {"NeedingNoneOfItIsNoNeed",
     {},
     {{'a', needs(1)}, {'z', needs(0)}},
     "load az wait a turn a wait z turn z"},
    {"TheDeadGiveBack",
     {},
     {{'a', needs(2)}, {'b', needs(1)}},
     "load ab wait ab turn a dead a held R=0 turn b"},
    {"TheDeadDoNotWait",
     {},
     {{'a', needs(1)}, {'b', needs(1)}, {'c', needs(1)}},
     "load abc wait abc turn a dead b done a turn c"},
    {"WhatADeadOneNeededStillCounts",
     {},
     {{'a', needs(1)}, {'b', needs(2)}},
     "load ab dead b total R=2"},
    {"AModelThatGoesGivesBack",
     {},
     {{'a', needs(1)}, {'b', needs(1)}},
     "load ab wait ab turn a unload a turn b"},
    {"ATurnInVainGivesBackAndDoesNotCount",
     {},
     {{'a', needs(1)}, {'b', needs(1)}},
     "load ab wait ab vain ab held R=0 wait ab turn a"},
    {"EqualOnesTakeTurns",
     {},
     {{'a', needs(1)}, {'b', needs(1)}, {'c', needs(1)}},
     "load abc wait abc laps 9 order abcabcabc"},
    {"WhoHasHadLessComesFirst",
     {},
     {{'a', needs(1)}, {'b', needs(1)}},
     "load ab wait a laps 3 order aaa wait b laps 6 order bbbaba"},
    {"PriorityTwoGetsHalfTheTurns",  // just so in the real Triton
     {},
     {{'a', needs(1, "R", 1)}, {'b', needs(1, "R", 2)}},
     "load ab wait ab laps 12 order aabaabaabaab"},
    {"PriorityZeroIsOne",
     {},
     {{'a', needs(1, "R", 0)}, {'b', needs(1, "R", 1)}},
     "load ab wait ab laps 6 order ababab"},
    {"APoorOneGetsItsShare",
     {},
     {{'a', needs(1, "R", 1)}, {'b', needs(1, "R", 4)}},
     "load ab wait ab laps 10 order aaaabaaaab"},
    {"ABigOneGetsItsShare",
     {},
     {{'a', needs(1)}, {'b', needs(2)}, {'c', needs(1)}},
     "load abc wait abc laps 6 order abcabc"},
};

INSTANTIATE_TEST_SUITE_P(RateLimiter, RateLimiterTable, testing::ValuesIn(kRows),
                         [](const auto& row) { return std::string(row.param.name); });

struct Refusal {
  const char* name;
  std::vector<ResourceLimit> limits;
  std::vector<InstanceLimits> before;  // of a model that is loaded
  std::vector<InstanceLimits> refused;
  const char* text;
};

constexpr const char* kBoth =
    "Resource \"R\" is present as both global and device-specific resource in the model "
    "configuration.";

class RefusedModels : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedModels, AreToldWhyAndLeaveNothing) {
  RateLimiter limiter(GetParam().limits);
  ASSERT_TRUE(limiter.add_model(1, GetParam().before).ok());
  const uint64_t total = limiter.total("R", 0);
  const base::Status status = limiter.add_model(2, GetParam().refused);
  EXPECT_EQ(status.code(), base::Code::kInvalidArgument);
  EXPECT_EQ(status.message(), GetParam().text);
  EXPECT_EQ(limiter.seat(2, 0), nullptr);
  EXPECT_EQ(limiter.total("R", 0), total);
  EXPECT_TRUE(limiter.add_model(3, GetParam().before).ok());
}

std::string limited(const char* resource, int count, int needed) {
  return std::string("Resource count for \"") + resource + "\" is limited to " +
         std::to_string(count) +
         " which will prevent scheduling of one or more model instances, the minimum required "
         "count is " +
         std::to_string(needed);
}
const std::string kTwoOfFour = limited("R1", 2, 4);
const std::string kTwoOfThree = limited("R", 2, 3);
const std::string kNoneOfTwo = limited("S", 0, 2);
const std::string kNoneOfOne = limited("R", 0, 1);

const Refusal kRefusals[] = {
    {"TooMuch", {{"R1", 2}}, {}, {needs(4, "R1")}, kTwoOfFour.c_str()},
    {"TheFirstInstanceThatNeedsTooMuch",
     {{"R", 2}},
     {needs(1)},
     {needs(2), needs(3), needs(4)},
     kTwoOfThree.c_str()},
    {"WhatNoLimitNames", {{"R", 2}}, {needs(1)}, {needs(2, "S")}, kNoneOfTwo.c_str()},
    {"TheLimitOfAnotherDevice", {{"R", 2, 1}}, {}, {needs(1)}, kNoneOfOne.c_str()},
    {"GlobalWhatIsADevices", {}, {needs(1)}, {on(0, {{"R", 1, true}})}, kBoth},
    {"ADevicesWhatIsGlobal", {}, {on(0, {{"R", 1, true}})}, {needs(1)}, kBoth},
    {"BothInOneInstance", {}, {}, {on(0, {{"R", 1}, {"R", 1, true}})}, kBoth},
    {"BothInTwoInstances", {{"R", 9}}, {}, {on(3, {{"R", 1}}), on(3, {{"R", 1, true}})}, kBoth},
    {"TooMuchIsSaidFirst", {{"R", 2}}, {needs(1)}, {on(0, {{"R", 3, true}})}, kTwoOfThree.c_str()},
};

INSTANTIATE_TEST_SUITE_P(RateLimiter, RefusedModels, testing::ValuesIn(kRefusals),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(RateLimiter, ANewcomerHasNoMoreThanSoManyTurnsBeforeTheOthers) {
  RateLimiter limiter({});
  const InstanceLimits one[] = {needs(1)};
  ASSERT_TRUE(limiter.add_model(1, one).ok());
  Seat* const old = limiter.seat(1, 0);
  const auto lap = [&limiter] {
    Seat* const seat = limiter.next();
    limiter.executes(seat);
    limiter.release(seat);
    limiter.wait(seat);
    return seat;
  };
  limiter.wait(old);
  for (int executed = 0; executed < 100'000; ++executed) ASSERT_EQ(lap(), old);
  ASSERT_TRUE(limiter.add_model(2, one).ok());
  limiter.wait(limiter.seat(2, 0));
  uint64_t before = 0;
  while (lap() != old) ASSERT_LE(++before, RateLimiter::kMostAhead + 2);
  EXPECT_GE(before, RateLimiter::kMostAhead);
}

TEST(RateLimiter, ATurnComesForEachHoweverManyTakePart) {
  RateLimiter limiter({{"R", 8}, {"S", 2}});
  std::vector<InstanceLimits> instances;
  for (uint32_t index = 0; index < 40; ++index) {
    instances.push_back(on(0, {{"R", index % 9}, {"S", index % 3}}, index % 5));
  }
  ASSERT_TRUE(limiter.add_model(1, instances).ok());
  std::vector<int> turns(instances.size());
  for (uint32_t index = 0; index < instances.size(); ++index) {
    limiter.seat(1, index)->occupant = index;
    limiter.wait(limiter.seat(1, index));
  }
  // Some execute side by side, and all end later than others begin.
  std::vector<Seat*> running;
  for (int step = 0; step < 20'000; ++step) {
    while (Seat* seat = limiter.next()) {
      EXPECT_LE(limiter.held("R", 0), 8u);
      EXPECT_LE(limiter.held("S", 0), 2u);
      ++turns[seat->occupant];
      limiter.executes(seat);
      running.push_back(seat);
    }
    ASSERT_FALSE(running.empty());
    Seat* const over = running[static_cast<size_t>(step * 7) % running.size()];
    std::erase(running, over);
    limiter.release(over);
    limiter.wait(over);
  }
  const int fewest = *std::min_element(turns.begin(), turns.end());
  EXPECT_GT(fewest, 20'000 / 40 / 8);
}

}  // namespace
}  // namespace pyserver::engine
