// The engine driven by hand: peers are the other ends of real channels in this process, time is a number.
#pragma once

#include "engine/engine.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>

namespace pyserver::engine {

inline constexpr uint64_t kRegionBytes = 1 << 20;
inline constexpr uint8_t kFinalReleased = shm::kFinal | shm::kReleasedFlag;

// One peer's own side: its end of the channel and its region.
struct FakePeer {
  uint32_t id = 0;
  shm::ChannelEnd end;
  shm::Mapping region;

  template <typename T>
  void send(const T& message) {
    end.send(shm::pack(message));
    end.flush();
  }

  std::optional<shm::Record> take() {
    shm::Record record;
    if (!end.try_take(&record)) return std::nullopt;
    end.commit();
    return record;
  }

  template <typename T>
  T expect(shm::Kind kind) {
    const std::optional<shm::Record> record = take();
    EXPECT_TRUE(record.has_value()) << "nothing there";
    if (!record) return {};
    EXPECT_EQ(static_cast<int>(record->kind), static_cast<int>(kind));
    return shm::unpack<T>(*record);
  }
};

class EngineTest : public testing::Test {
 protected:
  EngineTest() { start_again(); }

  // A new engine, without peers or models.
  void start_again() {
    base::UniqueFd fd;
    EXPECT_TRUE(shm::make_memfd("core", kRegionBytes, &fd).ok());
    shm::Mapping own;
    EXPECT_TRUE(shm::Mapping::map(fd.get(), true, &own).ok());
    EXPECT_TRUE(shm::Mapping::map(fd.get(), false, &core_region_).ok());
    engine_ = std::make_unique<Engine>(std::move(own), kRegionBytes);
  }

  std::unique_ptr<FakePeer> join(PeerKind kind) {
    auto made = std::make_unique<FakePeer>();
    made->id = ++last_peer_;
    shm::ChannelFds fds;
    EXPECT_TRUE(shm::ChannelFds::make(made->id, kRegionBytes, true, &fds).ok());
    shm::ChannelEnd core_end;
    EXPECT_TRUE(shm::ChannelEnd::open(fds, shm::Side::kCore, &core_end).ok());
    EXPECT_TRUE(shm::ChannelEnd::open(fds, shm::Side::kPeer, &made->end).ok());
    base::UniqueFd fd;
    EXPECT_TRUE(shm::make_memfd("peer", kRegionBytes, &fd).ok());
    EXPECT_TRUE(shm::Mapping::map(fd.get(), true, &made->region).ok());
    shm::Mapping seen;
    EXPECT_TRUE(shm::Mapping::map(fd.get(), false, &seen).ok());
    engine_->add_peer(made->id, kind, std::move(core_end), std::move(seen));
    return made;
  }

  void add_model(uint32_t handle, const std::string& policy, sched::PolicySettings queue = {},
                 bool preserve_ordering = false, std::vector<InstanceLimits> instances = {}) {
    ModelSettings settings;
    settings.name = "model";
    settings.policy = policy;
    settings.queue = std::move(queue);
    settings.preserve_ordering = preserve_ordering;
    settings.instances = std::move(instances);
    EXPECT_TRUE(engine_->add_model(handle, settings).ok());
  }

  // One turn of the loop.
  void turn() {
    now_ns_ += 1000;
    for (uint32_t id = 1; id <= last_peer_; ++id) {
      if (Peer* peer = engine_->peer(id); peer != nullptr) engine_->poll(peer, 1000, now_ns_);
    }
    engine_->dispatch(now_ns_);
    engine_->flush();
  }

  void submit(FakePeer& from, uint64_t ticket, uint32_t model = 1) {
    shm::RequestBuilder builder;
    builder.set_request_id("id-" + std::to_string(ticket));
    const auto table = builder.finish();
    const uint64_t offset = (ticket % 64) * 1024;
    std::memcpy(from.region.data() + offset, table.data(), table.size());
    shm::Submit record;
    record.model = model;
    record.ticket = ticket;
    record.table_offset = offset;
    record.table_bytes = static_cast<uint32_t>(table.size());
    record.batch_size = 1;
    from.send(record);
  }

  void respond(FakePeer& from, uint64_t ticket, uint8_t flags = kFinalReleased,
               uint64_t cookie = 5) {
    shm::Response response;
    response.flags = flags;
    response.ticket = ticket;
    response.table_bytes = 16;
    response.cookie = cookie;
    from.send(response);
  }

  void done(FakePeer& from, uint64_t batch) {
    shm::BatchDone record;
    record.batch = batch;
    record.compute_start_ns = now_ns_;
    record.compute_input_end_ns = now_ns_ + 10;
    record.compute_output_start_ns = now_ns_ + 30;
    record.compute_end_ns = now_ns_ + 60;
    from.send(record);
  }

  std::string message_of(const shm::Reply& reply) {
    shm::ResponseView view;
    EXPECT_EQ(reply.owner, shm::kCorePeer);
    EXPECT_TRUE(view.parse({core_region_.data() + reply.table_offset, reply.table_bytes}).ok());
    return std::string(view.message());
  }

  void give_back(FakePeer& from, uint64_t lease) {
    shm::Return record;
    record.lease = lease;
    from.send(record);
  }

  void expect_nothing_left() {
    const Counters counters = engine_->counters();
    EXPECT_EQ(counters.live_requests, 0u);
    EXPECT_EQ(counters.live_leases, 0u);
    EXPECT_EQ(counters.live_batches, 0u);
    EXPECT_EQ(counters.queued_requests, 0u);
    EXPECT_EQ(counters.own_bytes, 0u);
  }

  shm::Mapping core_region_;
  std::unique_ptr<Engine> engine_;
  uint32_t last_peer_ = 0;
  uint64_t now_ns_ = 1'000'000;
};

}  // namespace pyserver::engine
