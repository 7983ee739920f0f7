// The engine's real thread between a submitter and an instance that sleep and ring, as processes do.
#include "engine/runner.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "base/clock.h"

namespace pyserver::engine {
namespace {

constexpr uint64_t kRegionBytes = 1 << 20;

struct OwnSide {
  uint32_t id = 0;
  shm::ChannelEnd end;
  shm::Mapping region;

  explicit OwnSide(Runner* runner, PeerKind kind) {
    Runner::PeerFds fds;
    EXPECT_TRUE(runner->make_peer(kind, kRegionBytes, &fds).ok());
    id = fds.id;
    EXPECT_TRUE(shm::ChannelEnd::open(fds.channel, shm::Side::kPeer, &end).ok());
    EXPECT_TRUE(shm::Mapping::map(fds.region.get(), true, &region).ok());
  }

  // Waits for a record as a real peer does: sleeps on its doorbell.
  bool wait(shm::Record* record, uint64_t timeout_ms = 5000) {
    const uint64_t until = base::monotonic_ns() + timeout_ms * 1'000'000;
    while (!end.try_take(record)) {
      end.commit();
      if (base::monotonic_ns() > until) return false;
      if (end.sleep()) {
        pollfd fd{end.bell(), POLLIN, 0};
        ::poll(&fd, 1, 10);
        uint64_t count = 0;
        [[maybe_unused]] const ssize_t taken = ::read(end.bell(), &count, sizeof count);
      }
      end.wake();
    }
    end.commit();
    return true;
  }
};

class RunnerTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(Runner::make(kRegionBytes, kRegionBytes, 0, true, &runner_).ok());
    runner_->start();
  }

  void add_model(const ModelSettings& settings) {
    runner_->call(
        [&](Engine& engine, uint64_t) { EXPECT_TRUE(engine.add_model(1, settings).ok()); });
  }

  std::unique_ptr<Runner> runner_;
};

TEST_F(RunnerTest, CarriesManyRequestsBetweenThreadsThatSleep) {
  constexpr uint64_t kRequests = 20'000;
  constexpr uint64_t kInFlight = 16;
  add_model({"m", 1, "direct", {}});
  OwnSide frontend(runner_.get(), PeerKind::kFrontend);
  OwnSide instance(runner_.get(), PeerKind::kInstance);
  runner_->call([&](Engine& engine, uint64_t now_ns) {
    EXPECT_TRUE(engine.add_instance(1, instance.id, now_ns).ok());
  });
  std::thread executor([&] {
    uint64_t answered = 0;
    uint64_t batch = 0;
    shm::Record record;
    while (answered < kRequests && instance.wait(&record)) {
      if (record.kind == shm::Kind::kBatch) batch = shm::unpack<shm::BatchHead>(record).batch;
      if (record.kind != shm::Kind::kExecute) continue;
      shm::Response response;
      response.ticket = shm::unpack<shm::Execute>(record).ticket;
      response.flags = shm::kFinal | shm::kReleasedFlag;
      response.table_bytes = 8;
      instance.end.send(shm::pack(response));
      shm::BatchDone done;
      done.batch = batch;
      instance.end.send(shm::pack(done));
      instance.end.flush();
      ++answered;
    }
    EXPECT_EQ(answered, kRequests);
  });
  uint64_t sent = 0;
  uint64_t received = 0;
  shm::Record record;
  while (received < kRequests) {
    while (sent < kRequests && sent - received < kInFlight) {
      shm::Submit submit;
      submit.model = 1;
      submit.ticket = ++sent;
      submit.batch_size = 1;
      frontend.end.send(shm::pack(submit));
    }
    frontend.end.flush();
    ASSERT_TRUE(frontend.wait(&record)) << "a doorbell was lost after " << received;
    if (record.kind != shm::Kind::kReply) continue;
    ++received;
    shm::Return give_back;
    give_back.lease = shm::unpack<shm::Reply>(record).lease;
    frontend.end.send(shm::pack(give_back));
  }
  frontend.end.flush();
  executor.join();
  Counters counters;
  for (int attempt = 0; attempt < 1000; ++attempt) {
    runner_->call([&](Engine& engine, uint64_t) { counters = engine.counters(); });
    if (counters.live_leases == 0 && counters.live_batches == 0) break;
    std::this_thread::yield();
  }
  EXPECT_EQ(counters.live_requests, 0u);
  EXPECT_EQ(counters.live_leases, 0u);
  EXPECT_EQ(counters.violations, 0u);
}

TEST_F(RunnerTest, WakesForABatchingDelay) {
  add_model({.name = "m",
             .policy = "dynamic",
             .queue = {.max_batch_size = 8, .max_queue_delay_us = 2000}});
  OwnSide frontend(runner_.get(), PeerKind::kFrontend);
  OwnSide instance(runner_.get(), PeerKind::kInstance);
  runner_->call([&](Engine& engine, uint64_t now_ns) {
    EXPECT_TRUE(engine.add_instance(1, instance.id, now_ns).ok());
  });
  const uint64_t before = base::monotonic_ns();
  shm::Submit submit;
  submit.model = 1;
  submit.batch_size = 1;
  frontend.end.send(shm::pack(submit));
  frontend.end.flush();
  shm::Record record;
  ASSERT_TRUE(instance.wait(&record));
  EXPECT_EQ(record.kind, shm::Kind::kBatch);
  EXPECT_GE(base::monotonic_ns() - before, 2'000'000u);
}

TEST_F(RunnerTest, WarmsAnInstanceUpAndTellsTheControlPlane) {
  add_model({"m", 1, "direct", {}});
  OwnSide instance(runner_.get(), PeerKind::kInstance);
  std::shared_ptr<const WarmUp> sample;
  const auto spec = std::make_shared<model::ModelSpec>();
  ASSERT_TRUE(WarmUp::make(spec, 1, {}, &sample).ok());
  EXPECT_FALSE(runner_->warm_up(7, instance.id, *sample).ok()) << "no such model";
  ASSERT_TRUE(runner_->warm_up(1, instance.id, *sample).ok());
  shm::Record record;
  ASSERT_TRUE(instance.wait(&record));
  shm::BatchDone done;
  done.batch = shm::unpack<shm::BatchHead>(record).batch;
  ASSERT_TRUE(instance.wait(&record));
  shm::Response response;
  response.ticket = shm::unpack<shm::Execute>(record).ticket;
  response.flags = shm::kFinal | shm::kEmpty | shm::kReleasedFlag;
  instance.end.send(shm::pack(response));
  instance.end.send(shm::pack(done));
  instance.end.flush();
  pollfd fd{runner_->event_fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&fd, 1, 5000), 1);
  const auto events = runner_->take_events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Event::Kind::kWarmedUp);
  EXPECT_EQ(events[0].id, instance.id);
  EXPECT_EQ(events[0].message, "");
  runner_->call([](Engine& engine, uint64_t) { EXPECT_EQ(engine.counters().own_bytes, 0u); });
}

TEST_F(RunnerTest, TellsTheControlPlaneWhenAModelHasDrained) {
  add_model({"m", 1, "direct", {}});
  runner_->call([](Engine& engine, uint64_t) { engine.drain_model(1); });
  pollfd fd{runner_->event_fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&fd, 1, 5000), 1);
  const auto events = runner_->take_events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Event::Kind::kDrained);
}

}  // namespace
}  // namespace pyserver::engine
