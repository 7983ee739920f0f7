// Escaped: what a frontend had sent before it heard of a new version was refused, if the engine had been too busy with others to look
// at its ring before the old version was drained; found by a hundred swaps under load.
#include "engine/runner.h"

#include <gtest/gtest.h>

#include <cstring>

namespace pyserver::engine {
namespace {

TEST(UnreadRing, WhatWasSentBeforeTheDrainIsNoNewcomer) {
  constexpr uint64_t kRegionBytes = 1 << 20;
  std::unique_ptr<Runner> runner;  // it is never started: commands run at once, rings are not read
  ASSERT_TRUE(Runner::make(kRegionBytes, kRegionBytes, 0, true, &runner).ok());
  runner->call([](Engine& engine, uint64_t) {
    EXPECT_TRUE(engine.add_model(1, {"m", 1, "direct", {}}).ok());
  });
  Runner::PeerFds fds;
  ASSERT_TRUE(runner->make_peer(PeerKind::kFrontend, kRegionBytes, &fds).ok());
  shm::ChannelEnd end;
  ASSERT_TRUE(shm::ChannelEnd::open(fds.channel, shm::Side::kPeer, &end).ok());
  shm::Mapping region;
  ASSERT_TRUE(shm::Mapping::map(fds.region.get(), true, &region).ok());
  shm::RequestBuilder builder;
  const auto table = builder.finish();
  std::memcpy(region.data(), table.data(), table.size());
  shm::Submit submit;
  submit.model = 1;
  submit.table_bytes = static_cast<uint32_t>(table.size());
  submit.batch_size = 1;
  end.send(shm::pack(submit));
  end.flush();
  runner->drain_model(1);
  runner->call([](Engine& engine, uint64_t) {
    EXPECT_EQ(engine.counters().submitted, 1u);
    EXPECT_EQ(engine.counters().refused, 0u);
    EXPECT_EQ(engine.find_model(1)->policy->queued(), 1u);
  });
}

}  // namespace
}  // namespace pyserver::engine
