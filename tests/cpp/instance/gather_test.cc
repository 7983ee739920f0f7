// Joining a batch's inputs and handing its outputs out again; identity, which does neither.
#include "instance/gather.h"

#include <thread>

#include "core_side.h"
#include "instance/identity.h"

namespace pyserver::instance {
namespace {

class GatherTest : public CoreSide {};

std::vector<float> floats(std::span<const uint8_t> bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

TEST_F(GatherTest, a_batch_of_one_is_a_view) {
  send_batch(1, {float_request(1, {1, 2, 3})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  Gatherer gatherer;
  Gathered gathered;
  ASSERT_TRUE(gatherer.gather(batch, "INPUT0", 0, &gathered).ok());
  EXPECT_EQ(gathered.bytes.data(), batch.requests[0]->inputs()[0].bytes.data());
  EXPECT_EQ(gatherer.copied_bytes(), 0u);
}

TEST_F(GatherTest, a_misaligned_batch_of_one_is_copied) {
  put(std::vector<uint8_t>(3));
  send_batch(1, {float_request(1, {1, 2, 3}, 1, 1)});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  Gatherer gatherer;
  Gathered gathered;
  ASSERT_TRUE(gatherer.gather(batch, "INPUT0", 0, &gathered).ok());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(gathered.bytes.data()) % sizeof(float), 0u);
  EXPECT_EQ(floats(gathered.bytes), (std::vector<float>{1, 2, 3}));
}

TEST_F(GatherTest, rows_follow_each_other) {
  send_batch(
      1, {float_request(1, {1, 2}), float_request(2, {3, 4, 5, 6}, 2), float_request(3, {7, 8})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  Gatherer gatherer;
  Gathered gathered;
  ASSERT_TRUE(gatherer.gather(batch, "INPUT0", 0, &gathered).ok());
  EXPECT_TRUE(gathered.present);
  EXPECT_EQ(gathered.shape, (std::vector<int64_t>{4, 2}));
  EXPECT_EQ(floats(gathered.bytes), (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}));
  ASSERT_TRUE(gatherer.gather(batch, "OTHER", 1, &gathered).ok());
  EXPECT_FALSE(gathered.present);
}

TEST_F(GatherTest, requests_of_different_shape_do_not_join) {
  send_batch(1, {float_request(1, {1, 2}), float_request(2, {3, 4, 5})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  Gatherer gatherer;
  Gathered gathered;
  EXPECT_FALSE(gatherer.gather(batch, "INPUT0", 0, &gathered).ok());
}

TEST_F(GatherTest, each_request_gets_its_rows_of_the_outputs_it_wants) {
  shm::RequestBuilder wish;
  const int64_t shape[] = {2, 1};
  wish.add_input("INPUT0", 0, base::Datatype::kFp32, shape, put_floats({1, 2}));
  wish.add_output("SECOND", 1);
  send_batch(1, {float_request(1, {0}), put_request(2, wish, 2)});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  std::vector<BatchOutput> outputs;
  for (const char* name : {"FIRST", "SECOND"}) {
    BatchOutput& output = outputs.emplace_back();
    output.name = name;
    output.datatype = base::Datatype::kFp32;
    output.shape = {3, 2};
    output.buffer = link().memory()->make_buffer(24);
    const float values[] = {1, 2, 3, 4, 5, 6};
    std::memcpy(output.buffer->data(), values, sizeof values);
  }
  ASSERT_TRUE(scatter(batch, outputs, false).ok());
  executor_->done(&batch);
  const shm::ResponseView first = view(take_response());
  EXPECT_EQ(first.outputs().size(), 2u);
  const shm::ResponseView second = view(take_response());
  ASSERT_EQ(second.outputs().size(), 1u);
  const shm::TensorEntry& entry = second.outputs()[0];
  EXPECT_EQ(second.text(entry.name), "SECOND");
  EXPECT_EQ(second.shape(entry)[0], 2);
  EXPECT_EQ(entry.region, kInstancePeer);
  EXPECT_EQ(floats(*shm::bytes_at(instance_memory_, entry.offset, entry.byte_size)),
            (std::vector<float>{3, 4, 5, 6}));
}

TEST_F(GatherTest, an_output_without_the_batch_dimension_is_an_error) {
  send_batch(1, {float_request(1, {0}), float_request(2, {0})});
  Batch batch;
  ASSERT_EQ(executor_->next_batch(0, &batch), Wait::kBatch);
  BatchOutput output;
  output.name = "OUT";
  output.datatype = base::Datatype::kFp32;
  output.shape = {1, 2};
  output.buffer = link().memory()->make_buffer(8);
  const base::Status status = scatter(batch, {&output, 1}, false);
  EXPECT_NE(status.message().find("'OUT' has shape [1,2]"), std::string::npos) << status.message();
  EXPECT_FALSE(take());
}

TEST_F(GatherTest, identity_answers_with_the_requests_own_bytes) {
  shm::RequestBuilder table;
  const int64_t shape[] = {1, 2};
  const shm::Location location = put_floats({1, 2});
  table.add_input("INPUT0", 0, base::Datatype::kFp32, shape, location);
  table.add_input("INPUT1", 1, base::Datatype::kFp32, shape, location);
  table.add_output("OUTPUT0", 0);
  table.add_parameter({"color", std::string("red")});
  table.add_parameter({"count", int64_t{-3}});
  send_batch(1, {put_request(5, table)});
  executor_->stop();
  IdentityOptions options;
  options.pairs = {{"INPUT0", "OUTPUT0", 0}, {"INPUT1", "OUTPUT1", 1}};
  ASSERT_TRUE(run_identity(*executor_, options).ok());
  const shm::Response response = take_response();
  EXPECT_EQ(response.flags, shm::kFinal | shm::kReleasedFlag);
  const shm::ResponseView answer = view(response);
  ASSERT_EQ(answer.outputs().size(), 1u);
  EXPECT_EQ(answer.outputs()[0].region, kSubmitterPeer);
  EXPECT_EQ(answer.outputs()[0].offset, location.offset);
  EXPECT_EQ(answer.outputs()[0].byte_size, 8u);
  ASSERT_EQ(answer.parameters().size(), 2u);
  EXPECT_EQ(std::get<std::string>(answer.parameter(answer.parameters()[0]).value), "red");
  EXPECT_EQ(std::get<int64_t>(answer.parameter(answer.parameters()[1]).value), -3);
}

}  // namespace
}  // namespace pyserver::instance
