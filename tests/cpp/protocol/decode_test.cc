// Bodies that are good: what becomes of them.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "protocol/bench_of_bodies.h"
#include "shm/layout.h"

namespace pyserver::protocol {
namespace {

using base::Datatype;

const std::string kSixteen(64, '\x01');
constexpr char kBinaryInput[] =
    R"({"inputs":[{"name":"INPUT0","shape":[1,16],"datatype":"FP32","parameters":{"binary_data_size":64}}]})";

TEST(Decode, BinaryTensorStaysWhereItWasReceived) {
  BenchOfBodies bench;
  const model::ModelSpec model = identity_model();
  ASSERT_EQ(bench.decode(model, kBinaryInput, kSixteen).message(), "");
  ASSERT_EQ(bench.table.inputs().size(), 1u);
  const shm::TensorEntry& input = bench.table.inputs()[0];
  EXPECT_EQ(bench.table.text(input.name), "INPUT0");
  EXPECT_EQ(input.index, 0);
  EXPECT_EQ(input.region, BenchOfBodies::kPeer);
  EXPECT_EQ(input.datatype, Datatype::kFp32);
  EXPECT_EQ(bench.input_bytes(0), kSixteen);
  EXPECT_TRUE(bench.request.blocks.empty());
  EXPECT_EQ(bench.request.batch_size, 1u);
  EXPECT_EQ(bench.request.payload_bytes, 64u);
  EXPECT_EQ(bench.table.header().model, 7u);
  EXPECT_EQ(bench.table.header().output_count, 0);
}

TEST(Decode, PaddingMayBeMissing) {
  BenchOfBodies bench;
  const model::ModelSpec model = identity_model();
  for (const uint64_t padding : {0, 1, 63, 64}) {
    EXPECT_TRUE(bench.decode(model, kBinaryInput, kSixteen, padding).ok()) << padding;
  }
}

TEST(Decode, JsonNumbersOfEveryDatatype) {
  BenchOfBodies bench;
  const auto decode = [&](Datatype datatype, const std::string& shape, const std::string& data) {
    const std::string json = R"({"inputs":[{"name":"IN","shape":[)" + shape + R"(],"datatype":")" +
                             std::string(base::wire_name(datatype)) + R"(","data":)" + data + "}]}";
    return bench.decode(any_model(datatype), json).message();
  };
  EXPECT_EQ(decode(Datatype::kBool, "3", "[true,false,true]"), "");
  EXPECT_EQ(bench.input_bytes(0), std::string("\1\0\1", 3));
  EXPECT_EQ(decode(Datatype::kUint8, "3", "[1,255,256]"), "");
  EXPECT_EQ(bench.input_values<uint8_t>(0), (std::vector<uint8_t>{1, 255, 0}));
  EXPECT_EQ(decode(Datatype::kUint16, "1", "[65537]"), "");
  EXPECT_EQ(bench.input_values<uint16_t>(0), (std::vector<uint16_t>{1}));
  EXPECT_EQ(decode(Datatype::kUint32, "1", "[4294967295]"), "");
  EXPECT_EQ(bench.input_values<uint32_t>(0), (std::vector<uint32_t>{4294967295u}));
  EXPECT_EQ(decode(Datatype::kUint64, "1", "[18446744073709551615]"), "");
  EXPECT_EQ(bench.input_values<uint64_t>(0), (std::vector<uint64_t>{UINT64_MAX}));
  EXPECT_EQ(decode(Datatype::kInt8, "2", "[-1, 128]"), "");
  EXPECT_EQ(bench.input_values<int8_t>(0), (std::vector<int8_t>{-1, -128}));
  EXPECT_EQ(decode(Datatype::kInt16, "1", "[-32768]"), "");
  EXPECT_EQ(bench.input_values<int16_t>(0), (std::vector<int16_t>{-32768}));
  EXPECT_EQ(decode(Datatype::kInt32, "2", "[[-5],[7]]"), "");
  EXPECT_EQ(bench.input_values<int32_t>(0), (std::vector<int32_t>{-5, 7}));
  EXPECT_EQ(decode(Datatype::kInt64, "1", "[-9223372036854775808]"), "");
  EXPECT_EQ(bench.input_values<int64_t>(0), (std::vector<int64_t>{INT64_MIN}));
  EXPECT_EQ(decode(Datatype::kFp64, "4", "[1,2.5,-1e-3,1E300]"), "");
  EXPECT_EQ(bench.input_values<double>(0), (std::vector<double>{1, 2.5, -1e-3, 1e300}));
  EXPECT_EQ(decode(Datatype::kFp32, "5", "[NaN, Infinity ,-Infinity,0.1,[3]]"), "");
  const std::vector<float> floats = bench.input_values<float>(0);
  EXPECT_TRUE(std::isnan(floats[0]));
  EXPECT_EQ(floats[1], INFINITY);
  EXPECT_EQ(floats[2], -INFINITY);
  EXPECT_EQ(floats[3], 0.1f);
  EXPECT_EQ(floats[4], 3.0f);
  EXPECT_EQ(decode(Datatype::kBytes, "3", R"(["a",["","ü\n"]])"), "");
  EXPECT_EQ(bench.input_bytes(0), std::string("\1\0\0\0a\0\0\0\0\3\0\0\0\xc3\xbc\n", 16));
}

TEST(Decode, EmptyTensors) {
  BenchOfBodies bench;
  const model::ModelSpec model = any_model(Datatype::kFp32);
  EXPECT_EQ(
      bench.decode(model, R"({"inputs":[{"name":"IN","shape":[0],"datatype":"FP32","data":[]}]})")
          .message(),
      "");
  EXPECT_EQ(bench.table.inputs()[0].byte_size, 0u);
  EXPECT_EQ(
      bench
          .decode(model,
                  R"({"inputs":[{"name":"IN","shape":[0],"datatype":"FP32","data":[1,"x"]}]})")
          .message(),
      "");
  EXPECT_EQ(
      bench
          .decode(
              model,
              R"({"inputs":[{"name":"IN","shape":[0],"datatype":"FP32","parameters":{"binary_data_size":0}}]})")
          .message(),
      "");
}

TEST(Decode, MembersInAnyOrder) {
  BenchOfBodies bench;
  const model::ModelSpec model = any_model(Datatype::kInt32);
  EXPECT_EQ(
      bench
          .decode(
              model,
              R"({"outputs":[{"parameters":{"binary_data":true},"name":"OUT"}],"model_name":"other",
      "inputs":[{"data":[1,2],"datatype":"INT32","shape":[2],"name":"IN","extra":{"a":[1,{}]}}],"id":"7"})")
          .message(),
      "");
  EXPECT_EQ(bench.input_values<int32_t>(0), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(bench.request.request_id, "7");
  ASSERT_EQ(bench.request.wishes.size(), 1u);
  EXPECT_TRUE(bench.request.wishes[0].binary);
}

TEST(Decode, RequestParameters) {
  BenchOfBodies bench;
  const model::ModelSpec model = any_model(Datatype::kInt32);
  const std::string json =
      R"({"id":"r1","parameters":{"sequence_id":42,"sequence_start":true,"sequence_end":true,
    "priority":3,"timeout":1500,"binary_data_output":true,"text":"t","whole":-5,"flag":false,"real":1.5,
    "huge":18446744073709551615},"inputs":[{"name":"IN","shape":[1],"datatype":"INT32","data":[1]}]})";
  ASSERT_EQ(bench.decode(model, json).message(), "");
  EXPECT_EQ(bench.table.header().correlation_id, 42u);
  EXPECT_EQ(bench.request.flags, shm::kSequenceStart | shm::kSequenceEnd);
  EXPECT_EQ(bench.table.header().flags, uint32_t{shm::kSequenceStart | shm::kSequenceEnd});
  EXPECT_EQ(bench.request.priority, 3u);
  EXPECT_EQ(bench.request.timeout_us, 1500u);
  EXPECT_TRUE(bench.request.binary_default);
  EXPECT_EQ(bench.table.request_id(), "r1");
  ASSERT_EQ(bench.table.parameters().size(), 5u);
  const auto parameter = [&](size_t index) {
    return bench.table.parameter(bench.table.parameters()[index]);
  };
  EXPECT_EQ(std::get<std::string>(parameter(0).value), "t");
  EXPECT_EQ(std::get<int64_t>(parameter(1).value), -5);
  EXPECT_EQ(std::get<bool>(parameter(2).value), false);
  EXPECT_EQ(std::get<double>(parameter(3).value), 1.5);
  EXPECT_EQ(std::get<double>(parameter(4).value), 18446744073709551615.0);
  ASSERT_EQ(
      bench
          .decode(
              model,
              R"({"parameters":{"sequence_id":"abc"},"inputs":[{"name":"IN","shape":[1],"datatype":"INT32","data":[1]}]})")
          .message(),
      "");
  EXPECT_EQ(bench.table.correlation_text(), "abc");
}

TEST(Decode, OutputsAreSortedInTheTableAndKeepTheirOrderInTheWishes) {
  BenchOfBodies bench;
  model::ModelSpec model = identity_model();
  model.outputs = {tensor("B", Datatype::kFp32, {1}), tensor("A", Datatype::kFp32, {1})};
  const std::string json =
      R"({"inputs":[{"name":"INPUT0","shape":[1,16],"datatype":"FP32","parameters":{"binary_data_size":64}}],
    "outputs":[{"name":"B"},{"name":"A","parameters":{"classification":3}}]})";
  ASSERT_EQ(bench.decode(model, json, kSixteen).message(), "");
  ASSERT_EQ(bench.table.outputs().size(), 2u);
  EXPECT_EQ(bench.table.text(bench.table.outputs()[0].name), "A");
  EXPECT_EQ(bench.table.outputs()[0].index, 1);
  EXPECT_EQ(bench.request.wishes[0].name, "B");
  EXPECT_EQ(bench.request.wishes[1].classification, 3u);
}

TEST(Decode, ReshapeIsWhatTheBackendSees) {
  BenchOfBodies bench;
  model::ModelSpec model =
      make_model("reshape", 4, {tensor("IN", Datatype::kFp32, {-1, 2, -1})}, {});
  model.inputs[0].reshape = std::vector<int64_t>{2, -1, 1, -1};
  const std::string json =
      R"({"inputs":[{"name":"IN","shape":[1,1,2,3],"datatype":"FP32","data":[1,2,3,4,5,6]}]})";
  ASSERT_EQ(bench.decode(model, json).message(), "");
  const std::span<const int64_t> shape = bench.table.shape(bench.table.inputs()[0]);
  EXPECT_EQ(std::vector<int64_t>(shape.begin(), shape.end()),
            (std::vector<int64_t>{1, 2, 1, 1, 3}));
  model.inputs[0].dims = {1};
  model.inputs[0].reshape = std::vector<int64_t>{};
  ASSERT_EQ(
      bench
          .decode(model,
                  R"({"inputs":[{"name":"IN","shape":[2,1],"datatype":"FP32","data":[1,2]}]})")
          .message(),
      "");
  EXPECT_EQ(bench.table.inputs()[0].rank, 1u);
  EXPECT_EQ(bench.request.batch_size, 2u);
}

TEST(Decode, SignatureFollowsShapesAndPresence) {
  BenchOfBodies bench;
  model::ModelSpec model = make_model(
      "m", 8, {tensor("A", Datatype::kUint8, {-1}), tensor("B", Datatype::kUint8, {-1})}, {});
  model.inputs[1].optional = true;
  const auto signature = [&](const std::string& inputs) {
    const base::Status status = bench.decode(model, R"({"inputs":[)" + inputs + "]}");
    EXPECT_EQ(status.message(), "");
    return bench.request.signature;
  };
  const std::string a2 = R"({"name":"A","shape":[1,2],"datatype":"UINT8","data":[1,2]})";
  const std::string a2_rows = R"({"name":"A","shape":[2,2],"datatype":"UINT8","data":[1,2,3,4]})";
  const std::string a3 = R"({"name":"A","shape":[1,3],"datatype":"UINT8","data":[1,2,3]})";
  const std::string b2 = R"({"name":"B","shape":[1,2],"datatype":"UINT8","data":[1,2]})";
  EXPECT_EQ(signature(a2), signature(a2_rows));
  EXPECT_NE(signature(a2), signature(a3));
  EXPECT_NE(signature(a2), signature(a2 + "," + b2));
  EXPECT_EQ(signature(b2 + "," + a2), signature(a2 + "," + b2));
  EXPECT_NE(signature(a3 + "," + b2), signature(a2 + "," + b2));
  model.inputs[0].ragged = true;
  EXPECT_EQ(signature(a2), signature(a3));
}

TEST(Decode, RawBody) {
  BenchOfBodies bench;
  ASSERT_EQ(bench.decode_body(identity_model(), kSixteen, "0").message(), "");
  EXPECT_EQ(bench.input_bytes(0), kSixteen);
  EXPECT_EQ(bench.table.shape(bench.table.inputs()[0])[0], 1);
  EXPECT_TRUE(bench.request.binary_default);
  ASSERT_EQ(bench.decode_body(any_model(Datatype::kInt32), std::string(12, 'a'), "0").message(),
            "");
  EXPECT_EQ(bench.table.shape(bench.table.inputs()[0])[0], 3);
  const model::ModelSpec text = make_model("text", 0, {tensor("IN", Datatype::kBytes, {1})}, {});
  ASSERT_EQ(bench.decode_body(text, "hello", "0").message(), "");
  EXPECT_EQ(bench.input_bytes(0), std::string("\5\0\0\0hello", 9));
}

TEST(Decode, WithoutTheHeaderAllOfTheBodyIsJson) {
  BenchOfBodies bench;
  const std::string json =
      R"({"inputs":[{"name":"IN","shape":[1],"datatype":"INT32","data":[9]}]})";
  ASSERT_EQ(bench.decode_body(any_model(Datatype::kInt32), json, std::nullopt).message(), "");
  EXPECT_EQ(bench.input_values<int32_t>(0), (std::vector<int32_t>{9}));
}

// Both readers are tried on every length of a good body, with what follows cut away: refusals, never a crash.
TEST(Decode, EveryPrefixOfAGoodBodyIsRefused) {
  BenchOfBodies bench;
  const model::ModelSpec model =
      make_model("m", 8, {tensor("A", Datatype::kFp32, {2}), tensor("B", Datatype::kBytes, {1})},
                 {tensor("OUT", Datatype::kFp32, {2})});
  const std::string json =
      R"({"id":"1","parameters":{"x":1,"timeout":5},"inputs":[{"name":"A","shape":[1,2],)"
      R"("datatype":"FP32","parameters":{"binary_data_size":8}},{"name":"B","shape":[1,1],)"
      R"("datatype":"BYTES","data":["q\u00e9"]}],"outputs":[{"name":"OUT","parameters":{"binary_data":true}}]})";
  const std::string body = json + std::string(8, 'z');
  const std::string length = std::to_string(json.size());
  ASSERT_EQ(bench.decode_body(model, body, length).message(), "");
  for (const bool exactly : {false, true}) {
    bench.decoder.read_exactly_only(exactly);
    for (size_t size = 1; size < body.size(); ++size) {
      EXPECT_FALSE(bench.decode_body(model, body.substr(0, size), length).ok()) << size;
      EXPECT_FALSE(bench.decode_body(model, body.substr(0, size), std::nullopt).ok()) << size;
      if (size < json.size()) {
        EXPECT_FALSE(bench.decode_body(model, body, std::to_string(size)).ok()) << size;
      }
    }
  }
  bench.forget();
  EXPECT_EQ(bench.allocator().live_blocks(), 0u);
}

}  // namespace
}  // namespace pyserver::protocol
