// ModelInferRequests that are accepted: what becomes of their parts.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "protocol/grpc_messages.h"
#include "shm/layout.h"

namespace pyserver::protocol::grpc {
namespace {

using base::Datatype;

TEST(GrpcDecode, PeekSaysWhichModelIsMeant) {
  const std::string message = with_parameter("k", bool_param(true)) + with_id("first") +
                              bytes_field(2, "3") + with_model("m") + with_raw("xx") + with_id("r");
  RequestHead head;
  ASSERT_TRUE(peek(span_of(message), &head).ok());
  EXPECT_EQ(head.model_name, "m");
  EXPECT_EQ(head.model_version, "3");
  EXPECT_EQ(head.id, "r");  // the last of several counts
  ASSERT_TRUE(peek({}, &head).ok());
  EXPECT_EQ(head.model_name, "");
}

TEST(GrpcDecode, RawContentsStayWhereTheyAre) {
  BenchOfMessages bench;
  const std::string message = small_request();
  ASSERT_TRUE(bench.decode(identity_model(), message).ok());
  EXPECT_EQ(bench.request.request_id, "r1");
  EXPECT_EQ(bench.table.request_id(), "r1");
  EXPECT_EQ(bench.request.batch_size, 1u);
  EXPECT_EQ(bench.request.payload_bytes, 64u);
  EXPECT_TRUE(bench.request.blocks.empty());
  EXPECT_FALSE(bench.request.empty_final_response);
  ASSERT_EQ(bench.table.inputs().size(), 1u);
  const shm::TensorEntry& input = bench.table.inputs()[0];
  EXPECT_EQ(bench.table.text(input.name), "INPUT0");
  EXPECT_EQ(input.datatype, Datatype::kFp32);
  EXPECT_EQ(input.region, BenchOfMessages::kPeer);
  EXPECT_EQ(std::vector<int64_t>(bench.table.shape(input).begin(), bench.table.shape(input).end()),
            (std::vector<int64_t>{1, 16}));
  EXPECT_TRUE(bench.lies_in_message(0, message.size()));
  EXPECT_EQ(bench.input_bytes(0), message.substr(message.size() - 64));
}

TEST(GrpcDecode, RawContentsGoToTheInputsInOrder) {
  const model::ModelSpec model = make_model(
      "two", 0, {tensor("A", Datatype::kInt8, {-1}), tensor("B", Datatype::kBytes, {-1})}, {});
  BenchOfMessages bench;
  // Surplus raw contents are not looked at; where they stand among the other fields does not matter.
  ASSERT_TRUE(bench
                  .decode(model, with_raw(std::string("\2\0\0\0hi", 6)) + with_raw("abc") +
                                     with_input(tensor_of("B", "BYTES", {1})) +
                                     with_raw("surplus") + with_input(tensor_of("A", "INT8", {3})))
                  .ok());
  ASSERT_EQ(bench.table.inputs().size(), 2u);
  EXPECT_EQ(bench.table.text(bench.table.inputs()[0].name), "B");
  EXPECT_EQ(bench.table.inputs()[0].index, 1u);
  EXPECT_EQ(bench.input_bytes(0), std::string("\2\0\0\0hi", 6));
  EXPECT_EQ(bench.input_bytes(1), "abc");
}

template <typename T>
void expect_typed(Datatype datatype, const std::string& contents, const std::vector<T>& values) {
  BenchOfMessages bench;
  const auto count = static_cast<int64_t>(values.size());
  const std::string input =
      tensor_of("IN", base::wire_name(datatype), {count}) + with_contents(contents);
  const base::Status status = bench.decode(any_model(datatype), with_input(input));
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(bench.input_bytes(0), bytes_of(values)) << base::wire_name(datatype);
  EXPECT_EQ(bench.request.blocks.size(), values.empty() ? 0u : 1u);
}

std::string packed_varints(uint32_t field, const std::vector<int64_t>& values) {
  std::string packed;
  for (const int64_t value : values) packed += varint(static_cast<uint64_t>(value));
  return bytes_field(field, packed);
}

TEST(GrpcDecode, TypedContentsOfEveryDatatype) {
  expect_typed<uint8_t>(Datatype::kBool, packed_varints(1, {1, 0, 300}), {1, 0, 1});
  expect_typed<int8_t>(Datatype::kInt8, packed_varints(2, {-128, 127, 0x1ff}), {-128, 127, -1});
  expect_typed<int16_t>(Datatype::kInt16, packed_varints(2, {-32768, 32767, 65536}),
                        {-32768, 32767, 0});
  expect_typed<int32_t>(Datatype::kInt32, packed_varints(2, {INT32_MIN, INT32_MAX, 0}),
                        {INT32_MIN, INT32_MAX, 0});
  expect_typed<int64_t>(Datatype::kInt64, packed_varints(3, {INT64_MIN, INT64_MAX, -1}),
                        {INT64_MIN, INT64_MAX, -1});
  expect_typed<uint8_t>(Datatype::kUint8, packed_varints(4, {0, 255, 256}), {0, 255, 0});
  expect_typed<uint16_t>(Datatype::kUint16, packed_varints(4, {65535, 65537}), {65535, 1});
  expect_typed<uint32_t>(Datatype::kUint32, packed_varints(4, {UINT32_MAX}), {UINT32_MAX});
  expect_typed<uint64_t>(Datatype::kUint64, packed_varints(5, {-1, 7}), {UINT64_MAX, 7});
  const std::vector<float> floats = {0.1f, -INFINITY, std::numeric_limits<float>::denorm_min()};
  expect_typed<float>(Datatype::kFp32, bytes_field(6, bytes_of(floats)), floats);
  const std::vector<double> doubles = {0.1, NAN, -0.0};
  expect_typed<double>(Datatype::kFp64, bytes_field(7, bytes_of(doubles)), doubles);
}

TEST(GrpcDecode, PackedAndSingleElementsMayBeMixed) {
  expect_typed<int32_t>(Datatype::kInt32,
                        number_field(2, 5) + packed_varints(2, {6, 7}) + packed_varints(2, {}) +
                            number_field(2, static_cast<uint64_t>(-8)),
                        {5, 6, 7, -8});
  expect_typed<float>(
      Datatype::kFp32,
      fixed_field(6, 1.0f) + bytes_field(6, bytes_of<float>({2, 3})) + fixed_field(6, 4.0f),
      {1, 2, 3, 4});
  expect_typed<double>(Datatype::kFp64, fixed_field(7, 1.0) + bytes_field(7, bytes_of<double>({2})),
                       {1, 2});
  // Elements in a wire type that is not theirs are unknown fields.
  expect_typed<int32_t>(Datatype::kInt32, number_field(2, 5) + fixed_field(2, 7.0f), {5});
}

TEST(GrpcDecode, ContentsInTwoPiecesAreOne) {
  BenchOfMessages bench;
  const std::string input = with_contents(number_field(2, 1)) + tensor_of("IN", "INT32", {3}) +
                            with_contents("") + with_contents(packed_varints(2, {2, 3}));
  ASSERT_TRUE(bench.decode(any_model(Datatype::kInt32), with_input(input)).ok());
  EXPECT_EQ(bench.input_bytes(0), bytes_of<int32_t>({1, 2, 3}));
}

TEST(GrpcDecode, StringsGetTheirPrefixes) {
  BenchOfMessages bench;
  const std::string contents =
      bytes_field(8, "ab") + bytes_field(8, "") + bytes_field(8, std::string("\0\xff", 2));
  const std::string input = tensor_of("IN", "BYTES", {3}) + with_contents(contents);
  ASSERT_TRUE(bench.decode(any_model(Datatype::kBytes), with_input(input)).ok());
  EXPECT_EQ(bench.input_bytes(0), std::string("\2\0\0\0ab\0\0\0\0\2\0\0\0\0\xff", 16));
}

TEST(GrpcDecode, VeryManyStringsCostLinearTime) {
  constexpr int64_t kCount = 1'000'000;
  std::string contents;
  for (int64_t index = 0; index < kCount; ++index) contents += bytes_field(8, "x");
  BenchOfMessages bench;
  const std::string input = tensor_of("IN", "BYTES", {kCount}) + with_contents(contents);
  ASSERT_TRUE(bench.decode(any_model(Datatype::kBytes), with_input(input)).ok());
  EXPECT_EQ(bench.table.inputs()[0].byte_size, 5u * kCount);
}

TEST(GrpcDecode, AnInputWithoutElementsNeedsNoData) {
  BenchOfMessages bench;
  const std::string input = tensor_of("IN", "FP32", {0}) + with_contents("");
  ASSERT_TRUE(bench.decode(any_model(Datatype::kFp32), with_input(input)).ok());
  EXPECT_EQ(bench.table.inputs()[0].byte_size, 0u);
  ASSERT_TRUE(bench
                  .decode(any_model(Datatype::kFp32),
                          with_input(tensor_of("IN", "FP32", {0})) + with_raw(""))
                  .ok());
  EXPECT_EQ(bench.table.inputs()[0].byte_size, 0u);
}

TEST(GrpcDecode, ShapesPackedOrNot) {
  BenchOfMessages bench;
  const model::ModelSpec model =
      make_model("m", 0, {tensor("IN", Datatype::kInt8, {-1, -1, -1})}, {});
  const std::string input = bytes_field(1, "IN") + number_field(3, 2) + bytes_field(2, "INT8") +
                            bytes_field(3, varint(1) + varint(3));
  ASSERT_TRUE(bench.decode(model, with_input(input) + with_raw("abcdef")).ok());
  const auto shape = bench.table.shape(bench.table.inputs()[0]);
  EXPECT_EQ(std::vector<int64_t>(shape.begin(), shape.end()), (std::vector<int64_t>{2, 1, 3}));
}

TEST(GrpcDecode, ParametersOfEveryKind) {
  BenchOfMessages bench;
  const std::string message =
      with_parameter("sequence_id", int64_param(42)) +
      with_parameter("sequence_start", bool_param(true)) +
      with_parameter("sequence_end", bool_param(false)) +
      with_parameter("priority", uint64_param(3)) + with_parameter("timeout", int64_param(5000)) +
      with_parameter("triton_enable_empty_final_response", bool_param(true)) +
      with_parameter("flag", bool_param(true)) + with_parameter("whole", int64_param(-7)) +
      with_parameter("real", double_param(0.25)) +
      with_parameter("text", string_param("\xc3\xb6")) +
      with_parameter("text", string_param("last")) +
      with_parameter("binary_data", bool_param(true)) + small_request();
  ASSERT_TRUE(bench.decode(identity_model(), message).ok());
  EXPECT_EQ(bench.table.header().correlation_id, 42u);
  EXPECT_EQ(bench.request.flags, shm::kSequenceStart);
  EXPECT_EQ(bench.request.priority, 3u);
  EXPECT_EQ(bench.request.timeout_us, 5000u);
  EXPECT_TRUE(bench.request.empty_final_response);
  std::vector<shm::Parameter> parameters;
  for (const auto& entry : bench.table.parameters())
    parameters.push_back(bench.table.parameter(entry));
  ASSERT_EQ(parameters.size(), 5u);
  EXPECT_EQ(parameters[0].key, "flag");
  EXPECT_EQ(std::get<bool>(parameters[0].value), true);
  EXPECT_EQ(std::get<int64_t>(parameters[1].value), -7);
  EXPECT_EQ(std::get<double>(parameters[2].value), 0.25);
  EXPECT_EQ(parameters[3].key, "text");
  EXPECT_EQ(std::get<std::string>(parameters[3].value), "last");
  bench.forget();
  EXPECT_FALSE(bench.request.empty_final_response);
}

TEST(GrpcDecode, ManyParametersAreAMapToo) {
  BenchOfMessages bench;
  std::string message = small_request();
  for (int64_t round = 0; round < 2; ++round) {
    for (int64_t index = 0; index < 100; ++index) {
      message += with_parameter("p" + std::to_string(index), int64_param(round * 1000 + index));
    }
  }
  ASSERT_TRUE(bench.decode(identity_model(), message).ok());
  ASSERT_EQ(bench.table.parameters().size(), 100u);
  for (int64_t index = 0; index < 100; ++index) {
    const shm::Parameter parameter =
        bench.table.parameter(bench.table.parameters()[static_cast<size_t>(index)]);
    EXPECT_EQ(parameter.key, "p" + std::to_string(index));
    EXPECT_EQ(std::get<int64_t>(parameter.value), 1000 + index);
  }
}

TEST(GrpcDecode, OfSeveralVariantsOfAParameterTheLastCounts) {
  BenchOfMessages bench;
  const std::string message =
      with_parameter("p", string_param("x") + int64_param(1) + bool_param(false)) +
      bytes_field(4, bytes_field(2, int64_param(1)) + bytes_field(1, "q") +
                         bytes_field(2, string_param("y"))) +
      small_request();
  ASSERT_TRUE(bench.decode(identity_model(), message).ok());
  EXPECT_EQ(std::get<bool>(bench.table.parameter(bench.table.parameters()[0]).value), false);
  EXPECT_EQ(std::get<std::string>(bench.table.parameter(bench.table.parameters()[1]).value), "y");
}

TEST(GrpcDecode, CorrelationIdsAsText) {
  BenchOfMessages bench;
  ASSERT_TRUE(bench
                  .decode(identity_model(),
                          with_parameter("sequence_id", string_param("abc")) + small_request())
                  .ok());
  EXPECT_EQ(bench.table.correlation_text(), "abc");
}

TEST(GrpcDecode, RequestedOutputsWithClassification) {
  const model::ModelSpec model =
      make_model("m", 0, {tensor("IN", Datatype::kInt8, {-1})},
                 {tensor("X", Datatype::kFp32, {4}), tensor("Y", Datatype::kFp32, {4})});
  BenchOfMessages bench;
  const std::string message =
      with_input(tensor_of("IN", "INT8", {1})) + with_raw("a") +
      with_output(bytes_field(1, "Y") +
                  bytes_field(2, map_entry("classification", int64_param(3)))) +
      with_output(bytes_field(1, "X") +
                  bytes_field(2, map_entry("binary_data", bool_param(false))));
  ASSERT_TRUE(bench.decode(model, message).ok());
  ASSERT_EQ(bench.request.wishes.size(), 2u);
  EXPECT_EQ(bench.request.wishes[0].name, "Y");
  EXPECT_EQ(bench.request.wishes[0].classification, 3u);
  EXPECT_EQ(bench.request.wishes[1].classification, 0u);
  ASSERT_EQ(bench.table.outputs().size(), 2u);
  EXPECT_EQ(bench.table.text(bench.table.outputs()[0].name), "X");  // the backend sees them sorted
}

TEST(GrpcDecode, ADecoderIsAsNewForEachRequest) {
  BenchOfMessages bench;
  ASSERT_FALSE(bench.decode(identity_model(), with_id("x") + with_raw("abc")).ok());
  ASSERT_FALSE(bench.decode(identity_model(), "\xff").ok());
  ASSERT_TRUE(bench.decode(identity_model(), small_request()).ok());
  EXPECT_EQ(bench.table.inputs().size(), 1u);
  bench.forget();
  EXPECT_EQ(bench.allocator().live_blocks(), 0u);
}

}  // namespace
}  // namespace pyserver::protocol::grpc
