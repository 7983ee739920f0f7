// The checks that every request passes, whichever protocol brought it.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "model/checks.h"

namespace pyserver::model {
namespace {

using base::Datatype;

TensorSpec tensor(std::string name, Datatype datatype, std::vector<int64_t> dims) {
  TensorSpec spec;
  spec.name = std::move(name);
  spec.datatype = datatype;
  spec.dims = std::move(dims);
  return spec;
}

class Checks : public ::testing::Test {
 protected:
  Checks() {
    model.name = "m";
    model.max_batch_size = 4;
    model.inputs = {tensor("A", Datatype::kInt8, {2}), tensor("B", Datatype::kInt8, {-1})};
    model.outputs = {tensor("X", Datatype::kInt8, {2})};
  }

  void add(std::string_view name, std::vector<int64_t> shape, uint64_t byte_size,
           Datatype datatype = Datatype::kInt8) {
    ASSERT_TRUE(draft.add_input(name, datatype, shape).ok());
    draft.inputs.back().location.byte_size = byte_size;
  }
  std::string refusal() {
    const base::Status status = check(&draft);
    EXPECT_EQ(status.code(), status.ok() ? base::Code::kUnknown : base::Code::kInvalidArgument);
    return status.message();
  }
  // A fresh draft with a good A and B that `change` spoils.
  std::string with(std::vector<int64_t> a, std::vector<int64_t> b) {
    draft.begin(model);
    const auto bytes = [](const std::vector<int64_t>& shape) {
      return static_cast<uint64_t>(element_count(shape).value_or(0));
    };
    add("A", a, bytes(a));
    add("B", b, bytes(b));
    return refusal();
  }

  ModelSpec model;
  RequestDraft draft;
};

const std::string kUnknownId = "[request id: <id_unknown>] ";
const std::string kNote =
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be "
    "prepended to each "
    "input shape. If you want to specify the full shape including the batch dim in your input dims "
    "config, try setting "
    "max_batch_size to zero. See the model configuration docs for more info on max_batch_size.";

TEST_F(Checks, AGoodRequest) {
  EXPECT_EQ(with({3, 2}, {3, 5}), "");
  EXPECT_EQ(draft.batch_size, 3u);
  EXPECT_EQ(draft.payload_bytes, 21u);
}

TEST_F(Checks, Counts) {
  draft.begin(model);
  draft.request_id = "77";
  add("A", {1, 2}, 2);
  EXPECT_EQ(refusal(),
            "[request id: 77] expected 2 inputs but got 1 inputs for model 'm'. Got input(s) "
            "['A'], but missing "
            "required input(s) ['B']. Please provide all required input(s).");
  draft.begin(model);
  EXPECT_EQ(
      refusal(),
      kUnknownId +
          "expected 2 inputs but got 0 inputs for model 'm'. Got input(s) [], but missing required "
          "input(s) ['A','B']. Please provide all required input(s).");
  model.inputs[0].optional = true;
  draft.begin(model);
  EXPECT_EQ(
      refusal(),
      kUnknownId +
          "expected number of inputs between 1 and 2 but got 0 inputs for model 'm'. Got input(s) "
          "[], but missing required input(s) ['B']. Please provide all required input(s).");
}

TEST_F(Checks, TooManyInputsNameNoneThatIsMissing) {
  model.inputs.pop_back();
  draft.begin(model);
  add("A", {1, 2}, 2);
  add("Z", {1, 2}, 2);
  EXPECT_EQ(
      refusal(),
      kUnknownId +
          "expected 1 inputs but got 2 inputs for model 'm'. Got input(s) ['Z','A'], but missing "
          "required input(s) ]. Please provide all required input(s).");
}

TEST_F(Checks, AnOptionalInputDoesNotStandInForARequiredOne) {
  model.inputs[1].optional = true;
  draft.begin(model);
  add("B", {1, 2}, 2);
  EXPECT_EQ(
      refusal(),
      kUnknownId +
          "expected number of inputs between 1 and 2 but got 1 inputs for model 'm'. Got input(s) "
          "['B'], but missing required input(s) ['A']. Please provide all required input(s).");
}

TEST_F(Checks, Names) {
  draft.begin(model);
  add("A", {1, 2}, 2);
  add("Z", {1, 2}, 2);
  EXPECT_EQ(refusal(), "unexpected inference input 'Z' for model 'm'");
  draft.begin(model);
  ASSERT_TRUE(draft.add_input("Z", Datatype::kInt8, {}).ok());
  EXPECT_EQ(draft.add_input("Z", Datatype::kInt8, {}).message(),
            kUnknownId + "input 'Z' already exists in request");
  ASSERT_TRUE(draft.add_output("X").ok());
  EXPECT_EQ(draft.add_output("X").message(), kUnknownId + "output 'X' already exists in request");
  ASSERT_TRUE(draft.add_output("W").ok());
  EXPECT_EQ(refusal(), "unexpected inference output 'W' for model 'm'");
}

TEST_F(Checks, AFloodOfInputsIsRefusedInTime) {
  draft.begin(model);
  std::vector<std::string> names;
  for (int index = 0; index < 200'000; ++index) names.push_back("N" + std::to_string(index));
  for (const std::string& name : names)
    ASSERT_TRUE(draft.add_input(name, Datatype::kInt8, {}).ok());
  EXPECT_FALSE(draft.add_input(names[150'000], Datatype::kInt8, {}).ok());
  EXPECT_EQ(refusal().rfind(kUnknownId + "expected 2 inputs but got 200000 inputs", 0), 0u);
}

TEST_F(Checks, Batches) {
  EXPECT_EQ(with({}, {1, 2}),
            kUnknownId + "input 'A' has no shape but model requires batch dimension for 'm'");
  EXPECT_EQ(with({1, 2}, {2, 2}).substr(kUnknownId.size()).substr(10),
            "batch size does not match other inputs for 'm'");
  EXPECT_EQ(with({5, 2}, {5, 2}), kUnknownId + "inference request batch-size must be <= 4 for 'm'");
  EXPECT_EQ(with({int64_t{1} << 32, 2}, {int64_t{1} << 32, 2}),
            kUnknownId + "inference request batch-size must be <= 4 for 'm'");
  model.inputs.pop_back();
  for (const int64_t rows : {-1, -3}) {
    draft.begin(model);
    add("A", {rows, 2}, 2);
    EXPECT_EQ(refusal(),
              kUnknownId +
                  "All input dimensions should be specified for input 'A' for model 'm', got [" +
                  std::to_string(rows) + ",2]");
  }
}

TEST_F(Checks, NoRows) {
  model.inputs = {tensor("A", Datatype::kInt8, {-1})};
  const auto of = [&](std::vector<int64_t> shape, uint64_t bytes) {
    draft.begin(model);
    add("A", std::move(shape), bytes);
    return refusal();
  };
  const std::string mismatch =
      kUnknownId + "input byte size mismatch for input 'A' for model 'm'. Expected ";
  EXPECT_EQ(of({0, 3}, 0), mismatch + "3, got 0");
  EXPECT_EQ(of({0, 3}, 3), mismatch + "0, got 3");
  EXPECT_EQ(of({0, 0}, 0), "");
  EXPECT_EQ(draft.batch_size, 0u);
}

TEST_F(Checks, Shapes) {
  EXPECT_EQ(with({1, 3}, {1, 2}),
            kUnknownId +
                "unexpected shape for input 'A' for model 'm'. Expected [-1,2], got [1,3]. " +
                kNote);
  EXPECT_EQ(with({1}, {1, 2}),
            kUnknownId +
                "unexpected shape for input 'A' for model 'm'. Expected [-1,2], got [1]. " + kNote);
  model.max_batch_size = 0;
  EXPECT_EQ(with({3}, {2}),
            kUnknownId + "unexpected shape for input 'A' for model 'm'. Expected [2], got [3]. ");
  EXPECT_EQ(with({2}, {int64_t{1} << 40}), "");
  model.inputs[1].dims = {-1, -1};
  EXPECT_EQ(with({2}, {int64_t{1} << 40, int64_t{1} << 40}),
            "invalid shape for input 'B': shape [1099511627776,1099511627776] causes total element "
            "count to exceed "
            "maximum size of 9223372036854775807");
  EXPECT_EQ(with({2}, {int64_t{-5}, 0}),
            kUnknownId +
                "All input dimensions should be specified for input 'B' for model 'm', got [-5,0]");
}

TEST_F(Checks, DatatypesAndSizes) {
  draft.begin(model);
  add("A", {1, 2}, 2, Datatype::kUint8);
  add("B", {1, 2}, 2);
  EXPECT_EQ(refusal(),
            kUnknownId + "inference input 'A' data-type is 'UINT8', but model 'm' expects 'INT8'");
  draft.begin(model);
  add("A", {1, 2}, 3);
  add("B", {1, 2}, 2);
  EXPECT_EQ(refusal(),
            kUnknownId + "input byte size mismatch for input 'A' for model 'm'. Expected 2, got 3");
}

TEST_F(Checks, Strings) {
  model.inputs = {tensor("S", Datatype::kBytes, {2})};
  model.max_batch_size = 0;
  const auto of = [&](const std::string& bytes) {
    draft.begin(model);
    add("S", {2}, bytes.size(), Datatype::kBytes);
    draft.inputs[0].bytes = {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
    draft.inputs[0].readable = true;
    return refusal();
  };
  const std::string one("\1\0\0\0a", 5);
  EXPECT_EQ(of(one + one), "");
  EXPECT_EQ(of(one),
            kUnknownId + "expected 2 string elements for inference input 'S' for model 'm', got 1");
  EXPECT_EQ(of(one + one + one),
            kUnknownId +
                "unexpected number of string elements 3 for inference input 'S' for model 'm', "
                "expecting 2");
  EXPECT_EQ(
      of(one + "xyz"),
      kUnknownId +
          "incomplete string length indicator for inference input 'S' for model 'm', expecting "
          "4 bytes but only 3 bytes available. Please make sure the string length indicator is "
          "in one buffer.");
  EXPECT_EQ(of(one + std::string("\3\0\0\0ab", 6)),
            "incomplete string data for inference input 'S', expecting string of length 3 but only "
            "2 bytes available");
}

TEST_F(Checks, CorrelationIds) {
  model.sequence = true;
  const auto with_id = [&](Datatype control, uint64_t number, std::string_view text) {
    model.correlation_datatype = control;
    draft.begin(model);
    draft.correlation_id = number;
    EXPECT_TRUE(draft.set_correlation_text(text).ok());
    add("A", {1, 2}, 2);
    add("B", {1, 2}, 2);
    return refusal();
  };
  EXPECT_EQ(with_id(Datatype::kUint64, 5, ""), "");
  EXPECT_EQ(with_id(Datatype::kBytes, 0, "five"), "");
  EXPECT_EQ(with_id(Datatype::kInvalid, 0, "five"), "");
  EXPECT_EQ(with_id(Datatype::kUint64, 0, ""), "");
  EXPECT_EQ(with_id(Datatype::kUint64, 0, "five"),
            kUnknownId +
                "sequence batching control 'CORRID' data-type is 'BYTES', but model 'm' expects "
                "'UINT64'");
  EXPECT_EQ(with_id(Datatype::kBytes, 5, ""), kUnknownId +
                                                  "sequence batching control 'CORRID' data-type is "
                                                  "'UINT64', but model 'm' expects 'BYTES'");
  EXPECT_EQ(draft.set_correlation_text(std::string(129, 'x')).code(), base::Code::kUnsupported);
  EXPECT_TRUE(draft.set_correlation_text(std::string(128, 'x')).ok());
}

TEST_F(Checks, ShapeTensorsHaveNoBatchDimensionAndTheirValuesCount) {
  model.inputs[0].shape_tensor = true;
  const auto signature = [&](const std::string& values) {
    draft.begin(model);
    add("A", {2}, 2);
    draft.inputs[0].bytes = {reinterpret_cast<const uint8_t*>(values.data()), values.size()};
    add("B", {3, 1}, 3);
    EXPECT_EQ(refusal(), "");
    EXPECT_EQ(draft.batch_size, 3u);
    return draft.signature;
  };
  EXPECT_EQ(signature("ab"), signature("ab"));
  EXPECT_NE(signature("ab"), signature("ac"));
}

TEST(Shapes, Counting) {
  EXPECT_EQ(element_count({}), 0);
  EXPECT_EQ(element_count(std::vector<int64_t>{2, 3}), 6);
  EXPECT_EQ(element_count(std::vector<int64_t>{INT64_MAX, INT64_MAX, 0}), 0);
  EXPECT_EQ(element_count(std::vector<int64_t>{INT64_MAX, 2}), std::nullopt);
  EXPECT_EQ(element_count(std::vector<int64_t>{-1, 0}), std::nullopt);
  EXPECT_EQ(element_count(std::vector<int64_t>{INT64_MAX}), INT64_MAX);
}

}  // namespace
}  // namespace pyserver::model
