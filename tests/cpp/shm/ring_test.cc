// Rings and channels: order, fullness, sleeping, and peers that write nonsense.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "shm/channel.h"
#include "shm/layout.h"
#include "shm/ring.h"

namespace pyserver::shm {
namespace {

Record numbered(uint64_t number) {
  Cancel cancel;
  cancel.ticket = number;
  return pack(cancel);
}
uint64_t number_of(const Record& record) { return unpack<Cancel>(record).ticket; }

struct RingMemory {
  RingMemory() : bytes(static_cast<char*>(std::aligned_alloc(64, (kRingBytes + 63) / 64 * 64))) {
    std::memset(bytes.get(), 0, kRingBytes);
  }
  RingHeader* header() { return reinterpret_cast<RingHeader*>(bytes.get()); }
  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };
  std::unique_ptr<char, Free> bytes;
};

TEST(Ring, RecordsComeOutAsTheyWentInAndOnlyOncePublished) {
  RingMemory memory;
  RingWriter writer(memory.bytes.get());
  RingReader reader(memory.bytes.get());
  Record record;
  EXPECT_TRUE(writer.try_put(numbered(1)));
  EXPECT_FALSE(reader.try_take(&record));
  EXPECT_FALSE(writer.publish());
  ASSERT_TRUE(reader.try_take(&record));
  EXPECT_EQ(number_of(record), 1u);
  EXPECT_FALSE(reader.try_take(&record));
}

TEST(Ring, IsFullUntilTheReaderCommits) {
  RingMemory memory;
  RingWriter writer(memory.bytes.get());
  RingReader reader(memory.bytes.get());
  for (uint64_t number = 0; number < kRingCapacity; ++number)
    ASSERT_TRUE(writer.try_put(numbered(number)));
  EXPECT_FALSE(writer.try_put(numbered(0)));
  EXPECT_EQ(writer.free_slots(), 0u);
  (void)writer.publish();
  Record record;
  ASSERT_TRUE(reader.try_take(&record));
  EXPECT_FALSE(writer.try_put(numbered(0)));
  reader.commit();
  EXPECT_EQ(writer.free_slots(), 1u);
  EXPECT_TRUE(writer.try_put(numbered(0)));
  EXPECT_FALSE(writer.try_put(numbered(0)));
}

TEST(Ring, GoesRoundManyTimes) {
  RingMemory memory;
  RingWriter writer(memory.bytes.get());
  RingReader reader(memory.bytes.get());
  uint64_t taken = 0;
  for (uint64_t number = 0; number < 10 * kRingCapacity;) {
    for (int burst = 0; burst < 700 && writer.try_put(numbered(number)); ++burst) ++number;
    (void)writer.publish();
    Record record;
    for (int burst = 0; burst < 500 && reader.try_take(&record); ++burst)
      ASSERT_EQ(number_of(record), taken++);
    reader.commit();
  }
}

TEST(Ring, RingsOncePerSleep) {
  RingMemory memory;
  RingWriter writer(memory.bytes.get());
  RingReader reader(memory.bytes.get());
  Record record;
  ASSERT_TRUE(reader.sleep());
  ASSERT_TRUE(writer.try_put(numbered(1)));
  EXPECT_TRUE(writer.publish());
  ASSERT_TRUE(writer.try_put(numbered(2)));
  EXPECT_FALSE(writer.publish());
  reader.wake();
  while (reader.try_take(&record)) continue;
  ASSERT_TRUE(writer.try_put(numbered(3)));
  EXPECT_FALSE(writer.publish());
  EXPECT_FALSE(reader.sleep()) << "there is something to take";
  reader.wake();
  ASSERT_TRUE(reader.try_take(&record));
  ASSERT_TRUE(reader.sleep());
  ASSERT_TRUE(writer.try_put(numbered(4)));
  EXPECT_TRUE(writer.publish());
}

TEST(Ring, AWriterWithAnImpossibleTailIsBroken) {
  for (const uint64_t tail : {uint64_t{kRingCapacity} + 1, UINT64_MAX, uint64_t{1} << 63}) {
    RingMemory memory;
    RingReader reader(memory.bytes.get());
    memory.header()->tail.store(tail);
    Record record;
    EXPECT_FALSE(reader.try_take(&record));
    EXPECT_TRUE(reader.broken());
  }
}

TEST(Ring, AReaderWithAnImpossibleHeadOnlyLooksFull) {
  for (const uint64_t head : {uint64_t{kRingCapacity} + 1, UINT64_MAX / 2, uint64_t{1} << 63}) {
    RingMemory memory;
    RingWriter writer(memory.bytes.get());
    for (uint64_t number = 0; number < kRingCapacity; ++number)
      ASSERT_TRUE(writer.try_put(numbered(number)));
    memory.header()->head.store(head);
    EXPECT_FALSE(writer.try_put(numbered(0))) << head;
    EXPECT_EQ(writer.free_slots(), 0u);
  }
}

class Channel : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(ChannelFds::make(5, 1 << 20, true, &fds).ok());
    ASSERT_TRUE(ChannelEnd::open(fds, Side::kCore, &core).ok());
    ASSERT_TRUE(ChannelEnd::open(fds, Side::kPeer, &peer).ok());
  }
  static bool rung(const ChannelEnd& end) {
    pollfd waiting{end.bell(), POLLIN, 0};
    return ::poll(&waiting, 1, 0) == 1;
  }
  ChannelFds fds;
  ChannelEnd core;
  ChannelEnd peer;
};

TEST_F(Channel, BothEndsKnowThePeer) {
  EXPECT_EQ(core.peer(), 5u);
  EXPECT_EQ(peer.peer(), 5u);
  EXPECT_EQ(peer.region_bytes(), 1u << 20);
}

TEST_F(Channel, BothEndsKnowWhetherLoopsMayLookOn) {
  EXPECT_TRUE(core.busy_poll());
  EXPECT_TRUE(peer.busy_poll());
  ASSERT_TRUE(ChannelFds::make(5, 1 << 20, false, &fds).ok());
  ASSERT_TRUE(ChannelEnd::open(fds, Side::kPeer, &peer).ok());
  EXPECT_FALSE(peer.busy_poll());
}

TEST_F(Channel, TellsHowLongAgoItWasRung) {
  const uint64_t before_ns = base::monotonic_ns();
  ASSERT_TRUE(core.sleep());
  EXPECT_EQ(core.wake(before_ns, before_ns + 1'000'000'000), 0u) << "nobody rang";
  ASSERT_TRUE(core.sleep());
  peer.send(numbered(1));
  peer.flush();
  const uint64_t after_ns = base::monotonic_ns();
  const uint64_t age_ns = core.wake(before_ns, after_ns + 1000);
  EXPECT_GE(age_ns, 1000u);
  EXPECT_LE(age_ns, after_ns + 1000 - before_ns);
  EXPECT_EQ(core.wake(after_ns, after_ns + 1000), 0u) << "that was before this sleep";
}

TEST_F(Channel, EachWayHasItsOwnRingAndBell) {
  Record record;
  ASSERT_TRUE(core.sleep());
  peer.send(numbered(1));
  EXPECT_FALSE(rung(core));
  peer.flush();
  EXPECT_TRUE(rung(core));
  EXPECT_FALSE(rung(peer));
  ASSERT_TRUE(core.try_take(&record));
  EXPECT_EQ(number_of(record), 1u);
  EXPECT_FALSE(peer.try_take(&record));
  core.send(numbered(2));
  core.flush();
  EXPECT_FALSE(rung(peer)) << "it was awake";
  ASSERT_TRUE(peer.try_take(&record));
  EXPECT_EQ(number_of(record), 2u);
}

TEST_F(Channel, WhatDoesNotFitWaitsAndKeepsItsOrder) {
  const uint64_t all = 3 * kRingCapacity;
  for (uint64_t number = 0; number < all; ++number) peer.send(numbered(number));
  peer.flush();
  EXPECT_EQ(peer.backlog(), all - kRingCapacity);
  uint64_t next = 0;
  while (next < all) {
    Record record;
    while (core.try_take(&record)) ASSERT_EQ(number_of(record), next++);
    core.commit();
    peer.flush();
  }
  EXPECT_EQ(peer.backlog(), 0u);
}

TEST_F(Channel, AnotherLayoutIsRefused) {
  Mapping mapping;
  ASSERT_TRUE(Mapping::map(fds.rings.get(), true, &mapping).ok());
  ++reinterpret_cast<ChannelHeader*>(mapping.data())->version;
  ChannelEnd end;
  EXPECT_FALSE(ChannelEnd::open(fds, Side::kPeer, &end).ok());
}

// Sleeping for real on both sides: no record is lost and nobody sleeps for ever.
TEST_F(Channel, TwoThreadsThatSleepWheneverTheyCan) {
  constexpr uint64_t kCount = 50'000;
  const auto receive = [](ChannelEnd& end) {
    Record record;
    while (!end.try_take(&record)) {
      if (end.sleep()) {
        pollfd waiting{end.bell(), POLLIN, 0};
        ASSERT_EQ(::poll(&waiting, 1, 20'000), 1) << "slept through a record";
        uint64_t count = 0;
        ASSERT_EQ(::read(end.bell(), &count, sizeof count), static_cast<ssize_t>(sizeof count));
      }
      end.wake();
    }
    end.commit();
  };
  std::thread echo([&] {
    for (uint64_t number = 0; number < kCount && !HasFatalFailure(); ++number) {
      receive(core);
      core.send(numbered(number));
      core.flush();
    }
  });
  for (uint64_t number = 0; number < kCount && !HasFatalFailure(); ++number) {
    peer.send(numbered(number));
    peer.flush();
    receive(peer);
  }
  echo.join();
}

}  // namespace
}  // namespace pyserver::shm
