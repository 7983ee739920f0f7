// Ragged batches: elements end to end, what tells where each begins, and outputs split by shapes.
#include "instance/ragged.h"

#include "core_side.h"
#include "instance/gather.h"

namespace pyserver::instance {
namespace {

class RaggedTest : public CoreSide {
 protected:
  // Inputs of 1 x 3, 2 x 2 and 1 x 1 elements.
  void take() {
    send_batch(
        1, {float_request(1, {1, 2, 3}), float_request(2, {4, 5, 6, 7}, 2), float_request(3, {8})});
    ASSERT_EQ(executor_->next_batch(0, &batch_), Wait::kBatch);
  }
  template <typename T>
  std::vector<T> made(BatchInputKind kind, base::Datatype datatype) {
    const base::Status status = make_batch_input(batch_, kind, "INPUT0", datatype, &made_);
    EXPECT_TRUE(status.ok()) << status.message();
    std::vector<T> values(made_.bytes.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), made_.bytes.data(), made_.bytes.size());
    return values;
  }
  Batch batch_;
  MadeInput made_;
};

TEST_F(RaggedTest, elements_follow_each_other) {
  take();
  Gatherer gatherer;
  Gathered gathered;
  ASSERT_TRUE(gatherer.gather_ragged(batch_, "INPUT0", 0, &gathered).ok());
  EXPECT_EQ(gathered.shape, (std::vector<int64_t>{8}));
  const float* values = reinterpret_cast<const float*>(gathered.bytes.data());
  EXPECT_EQ(std::vector<float>(values, values + 8), (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}));
  ASSERT_TRUE(gatherer.gather_ragged(batch_, "OTHER", 1, &gathered).ok());
  EXPECT_FALSE(gathered.present);
}

TEST_F(RaggedTest, a_batch_of_one_is_a_view) {
  send_batch(1, {float_request(1, {1, 2, 3, 4}, 2)});
  ASSERT_EQ(executor_->next_batch(0, &batch_), Wait::kBatch);
  Gatherer gatherer;
  Gathered gathered;
  ASSERT_TRUE(gatherer.gather_ragged(batch_, "INPUT0", 0, &gathered).ok());
  EXPECT_EQ(gathered.shape, (std::vector<int64_t>{4}));
  EXPECT_EQ(gathered.bytes.data(), batch_.requests[0]->inputs()[0].bytes.data());
  EXPECT_EQ(gatherer.copied_bytes(), 0u);
}

TEST_F(RaggedTest, every_kind_of_batch_input) {
  using Kind = BatchInputKind;
  using Numbers = std::vector<int32_t>;
  struct Row {
    Kind kind;
    Numbers values;
    std::vector<int64_t> shape;
  };
  const Row rows[] = {
      {Kind::kElementCount, {3, 4, 1}, {3}},
      {Kind::kAccumulatedElementCount, {3, 7, 8}, {3}},
      {Kind::kAccumulatedElementCountWithZero, {0, 3, 7, 8}, {4}},
      {Kind::kMaxElementCountAsShape, {0, 0, 0, 0}, {4}},
      {Kind::kItemShape, {3, 2, 2, 1}, {4, 1}},
      {Kind::kItemShapeFlatten, {3, 2, 2, 1}, {4}},
  };
  take();
  for (const Row& row : rows) {
    EXPECT_EQ(made<int32_t>(row.kind, base::Datatype::kInt32), row.values);
    EXPECT_EQ(made_.shape, row.shape);
    EXPECT_EQ(made<float>(row.kind, base::Datatype::kFp32),
              std::vector<float>(row.values.begin(), row.values.end()));
  }
}

TEST_F(RaggedTest, a_batch_input_of_an_input_that_is_not_there) {
  take();
  const base::Status status = make_batch_input(batch_, BatchInputKind::kElementCount, "OTHER",
                                               base::Datatype::kInt32, &made_);
  EXPECT_EQ(status.code(), base::Code::kInvalidArgument);
  EXPECT_NE(status.message().find("'OTHER'"), std::string::npos);
}

TEST_F(RaggedTest, outputs_are_split_by_the_shapes_of_an_input) {
  take();
  BatchOutput output;
  output.name = "OUT";
  output.datatype = base::Datatype::kFp32;
  output.shape = {8};
  output.shaped_as = "INPUT0";
  output.buffer = link().memory()->make_buffer(8 * sizeof(float));
  ASSERT_TRUE(scatter(batch_, std::span(&output, 1), false).ok());
  executor_->done(&batch_);
  const std::vector<int64_t> shapes[] = {{1, 3}, {2, 2}, {1, 1}};
  const uint64_t offsets[] = {0, 12, 28};
  for (size_t index = 0; index < 3; ++index) {
    const shm::Response response = take_response();
    const shm::ResponseView answer = view(response);
    const shm::TensorEntry& entry = answer.outputs()[0];
    const std::span<const int64_t> shape = answer.shape(entry);
    EXPECT_EQ(std::vector<int64_t>(shape.begin(), shape.end()), shapes[index]);
    EXPECT_EQ(entry.offset, output.buffer->offset() + offsets[index]);
  }
}

TEST_F(RaggedTest, outputs_that_do_not_add_up_are_refused) {
  take();
  BatchOutput output;
  output.name = "OUT";
  output.datatype = base::Datatype::kFp32;
  output.shape = {7};
  output.shaped_as = "INPUT0";
  output.buffer = link().memory()->make_buffer(7 * sizeof(float));
  const base::Status status = scatter(batch_, std::span(&output, 1), false);
  EXPECT_NE(status.message().find("has 28 bytes in shape [7], but the shapes of input 'INPUT0' "
                                  "make 32"),
            std::string::npos)
      << status.message();
}

}  // namespace
}  // namespace pyserver::instance
