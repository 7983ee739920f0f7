// Which models are in use, and when they last were.
#include "engine/harness.h"

namespace pyserver::engine {
namespace {

class UsageTest : public EngineTest {
 protected:
  uint64_t in_flight(uint32_t handle = 1) const { return engine_->usage().at(handle).first; }
  uint64_t last_use_ns(uint32_t handle = 1) const { return engine_->usage().at(handle).second; }
};

TEST_F(UsageTest, AModelIsInUseFromTheRequestsArrivalToTheEndOfItsBatch) {
  const auto frontend = join(PeerKind::kFrontend);
  const auto instance = join(PeerKind::kInstance);
  add_model(1, "direct");
  add_model(2, "direct");
  EXPECT_EQ(in_flight(), 0u);
  EXPECT_EQ(last_use_ns(), 0u);
  submit(*frontend, 1);
  turn();
  EXPECT_EQ(in_flight(), 1u);  // queued: there is no instance yet
  const uint64_t arrived_ns = now_ns_;
  EXPECT_EQ(last_use_ns(), arrived_ns);
  ASSERT_TRUE(engine_->add_instance(1, instance->id, now_ns_).ok());
  turn();
  EXPECT_EQ(in_flight(), 1u);
  EXPECT_EQ(last_use_ns(), arrived_ns);
  const auto head = instance->expect<shm::BatchHead>(shm::Kind::kBatch);
  respond(*instance, instance->expect<shm::Execute>(shm::Kind::kExecute).ticket);
  done(*instance, head.batch);
  turn();
  EXPECT_EQ(in_flight(), 0u);
  EXPECT_EQ(last_use_ns(), now_ns_);
  EXPECT_EQ(in_flight(2), 0u);
  EXPECT_EQ(last_use_ns(2), 0u);
}

TEST_F(UsageTest, ASequenceThatLivesKeepsItsModelInUse) {
  add_model(1, "sequence_direct", {.max_batch_size = 2});
  const auto frontend = join(PeerKind::kFrontend);
  const auto instance = join(PeerKind::kInstance);
  ASSERT_TRUE(engine_->add_instance(1, instance->id, 1).ok());
  for (const uint8_t flags : {shm::kSequenceStart, shm::kSequenceEnd}) {
    shm::RequestBuilder builder;
    builder.header.correlation_id = 7;
    const auto table = builder.finish();
    std::memcpy(frontend->region.data() + flags * 1024, table.data(), table.size());
    shm::Submit record;
    record.model = 1;
    record.ticket = flags;
    record.flags = flags;
    record.table_offset = flags * uint64_t{1024};
    record.table_bytes = static_cast<uint32_t>(table.size());
    record.batch_size = 1;
    frontend->send(record);
    turn();
    const auto head = instance->expect<shm::BatchHead>(shm::Kind::kBatch);
    respond(*instance, instance->expect<shm::Execute>(shm::Kind::kExecute).ticket);
    done(*instance, head.batch);
    turn();
    EXPECT_EQ(in_flight(), flags == shm::kSequenceStart ? 1u : 0u);
  }
}

}  // namespace
}  // namespace pyserver::engine
