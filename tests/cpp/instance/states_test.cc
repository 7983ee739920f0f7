// Implicit state: where it lies, when it begins anew, what of it is copied, and whose it is.
#include "instance/states.h"

#include "core_side.h"

namespace pyserver::instance {
namespace {

std::vector<uint8_t> bytes_of(const std::vector<float>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::vector<float> floats(std::span<const uint8_t> bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

struct Step {
  uint32_t slot = 0;
  uint32_t generation = 1;
  uint8_t flags = 0;  // beside READY
};

constexpr uint8_t kStart = shm::kSequenceStart;
constexpr uint8_t kEnd = shm::kSequenceEnd;

class StatesTest : public CoreSide {
 protected:
  static StateSpec spec(bool same_buffer = false) {
    return {"in", "out", base::Datatype::kFp32, {1, 2}, bytes_of({10, 20}), same_buffer};
  }

  void take(const std::vector<Step>& steps) {
    std::vector<shm::Execute> records;
    for (const Step& step : steps) {
      shm::Execute record = float_request(++ticket_, {1});
      record.slot = step.slot;
      record.generation = step.generation;
      record.flags = step.flags | shm::kSequenceReady;
      if (step.flags == shm::kNullRequest) record.flags = shm::kNullRequest;
      records.push_back(record);
    }
    send_batch(ticket_, records);
    ASSERT_EQ(executor_->next_batch(0, &batch_), Wait::kBatch);
    states_.open(&batch_.requests, &groups_);
  }

  std::vector<float> read(size_t state = 0) {
    return floats(states_.input(batch_.requests, state).bytes);
  }

  void write(const std::vector<float>& values, std::vector<int64_t> shape) {
    const std::vector<uint8_t> bytes = bytes_of(values);
    uint8_t* place = states_.output(batch_.requests, 0, std::move(shape), bytes.size());
    std::copy(bytes.begin(), bytes.end(), place);
    states_.commit(batch_.requests);
    executor_->done(&batch_);
  }

  States states_{{spec()}};
  Batch batch_;
  std::vector<uint32_t> groups_;
  uint64_t ticket_ = 0;
};

TEST_F(StatesTest, a_sequence_begins_with_the_initial_state_and_goes_on_with_its_own) {
  take({{3, 1, kStart}});
  EXPECT_EQ(read(), (std::vector<float>{10, 20}));
  write({1, 2}, {1, 2});
  take({{3, 1}});
  EXPECT_EQ(read(), (std::vector<float>{1, 2}));
  write({3, 4}, {1, 2});
  take({{3, 1}});
  EXPECT_EQ(read(), (std::vector<float>{3, 4}));
}

TEST_F(StatesTest, a_batch_of_one_copies_nothing) {
  take({{0, 1, kStart}});
  write({1, 2}, {1, 2});
  take({{0, 1}});
  const uint8_t* first = states_.input(batch_.requests, 0).bytes.data();
  write({3, 4}, {1, 2});
  take({{0, 1}});
  EXPECT_NE(states_.input(batch_.requests, 0).bytes.data(), first);
  write({5, 6}, {1, 2});
  take({{0, 1}});
  EXPECT_EQ(states_.input(batch_.requests, 0).bytes.data(), first) << "two buffers take turns";
  EXPECT_EQ(states_.copied_bytes(), 0u);
}

TEST_F(StatesTest, one_buffer_where_the_model_updates_in_place) {
  states_ = States({spec(true)});
  take({{0, 1, kStart}});
  const uint8_t* place = states_.input(batch_.requests, 0).bytes.data();
  EXPECT_EQ(states_.output(batch_.requests, 0, {1, 2}, 8), place);
}

TEST_F(StatesTest, batches_are_joined_and_split) {
  take({{0, 1, kStart}, {1, 1, kStart}});
  EXPECT_EQ(states_.input(batch_.requests, 0).shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(read(), (std::vector<float>{10, 20, 10, 20}));
  write({1, 2, 3, 4}, {2, 2});
  take({{1, 1}, {5, 1, kStart}, {0, 1}});
  EXPECT_EQ(read(), (std::vector<float>{3, 4, 10, 20, 1, 2}));
}

TEST_F(StatesTest, start_begins_anew_in_the_same_slot) {
  take({{0, 1, kStart}});
  write({1, 2}, {1, 2});
  take({{0, 1, kStart}});
  EXPECT_EQ(read(), (std::vector<float>{10, 20}));
}

TEST_F(StatesTest, what_was_not_written_stays) {
  take({{0, 1, kStart}});
  write({1, 2}, {1, 2});
  take({{0, 1}});
  states_.commit(batch_.requests);
  executor_->done(&batch_);
  take({{0, 1}});
  EXPECT_EQ(read(), (std::vector<float>{1, 2}));
}

TEST_F(StatesTest, what_was_written_but_not_committed_is_not_the_state) {
  take({{0, 1, kStart}});
  write({1, 2}, {1, 2});
  take({{0, 1}});
  states_.output(batch_.requests, 0, {1, 2}, 8)[0] = 99;
  executor_->done(&batch_);
  take({{0, 1}});
  EXPECT_EQ(read(), (std::vector<float>{1, 2}));
}

TEST_F(StatesTest, another_sequence_never_sees_what_a_slot_held) {
  take({{0, 1, kStart}});
  write({1, 2}, {1, 2});
  take({{0, 2}, {1, 1, kStart}});
  ASSERT_EQ(batch_.requests.size(), 1u) << "the one without its state was answered";
  EXPECT_EQ(batch_.requests[0]->slot(), 1u);
  link().flush();
  while (const auto record = CoreSide::take()) {
    if (record->kind != shm::Kind::kResponse) continue;
    const auto response = shm::unpack<shm::Response>(*record);
    if (response.ticket != 2) continue;
    EXPECT_NE(view(response).message().find("begin the sequence anew"), std::string_view::npos);
    return;
  }
  FAIL() << "nobody was told";
}

TEST_F(StatesTest, the_end_gives_the_memory_back) {
  take({{0, 1, kStart}});
  write({1, 2}, {1, 2});
  EXPECT_GT(states_.held_bytes(), 0u);
  take({{0, 1, kEnd}});
  write({1, 2}, {1, 2});
  EXPECT_EQ(states_.held_bytes(), 0u);
}

TEST_F(StatesTest, null_requests_have_the_initial_state_and_change_none) {
  take({{1, 1, kStart}});
  write({1, 2}, {1, 2});
  take({{0, 0, shm::kNullRequest}, {1, 1}});
  ASSERT_EQ(batch_.requests.size(), 2u);
  EXPECT_EQ(groups_, (std::vector<uint32_t>{0, 0}));
  EXPECT_EQ(read(), (std::vector<float>{10, 20, 1, 2}));
  write({7, 8, 3, 4}, {2, 2});
  take({{0, 1, kStart}, {1, 1}});
  EXPECT_EQ(read(), (std::vector<float>{10, 20, 3, 4}));
}

TEST_F(StatesTest, states_of_unequal_shape_are_executed_apart) {
  take({{0, 1, kStart}});
  write({1, 2, 3}, {1, 3});
  take({{1, 1, kStart}, {0, 1}, {2, 1, kStart}});
  EXPECT_EQ(groups_, (std::vector<uint32_t>{0, 0, 1}));
  EXPECT_EQ(batch_.requests[0]->slot(), 1u);
  EXPECT_EQ(batch_.requests[1]->slot(), 2u);
  EXPECT_EQ(batch_.requests[2]->slot(), 0u);
  batch_.requests.erase(batch_.requests.begin(), batch_.requests.begin() + 2);
  EXPECT_EQ(read(), (std::vector<float>{1, 2, 3}));
}

}  // namespace
}  // namespace pyserver::instance
