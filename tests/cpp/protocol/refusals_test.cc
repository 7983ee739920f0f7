// Bodies that are refused: each with the code and the words that Triton's clients know.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "protocol/bench_of_bodies.h"

namespace pyserver::protocol {
namespace {

using base::Code;
using base::Datatype;

model::ModelSpec two_inputs() {
  return make_model("pair", 8,
                    {tensor("A", Datatype::kInt32, {2}), tensor("B", Datatype::kBytes, {-1})},
                    {tensor("X", Datatype::kInt32, {2}), tensor("Y", Datatype::kInt32, {2})});
}

constexpr char kA[] = R"({"name":"A","shape":[1,2],"datatype":"INT32","data":[1,2]})";
constexpr char kB[] = R"({"name":"B","shape":[1,1],"datatype":"BYTES","data":["b"]})";

struct Refusal {
  const char* json;
  Code code;
  const char* message;
};

std::string inputs(const std::string& list) { return R"({"inputs":[)" + list + "]}"; }

void expect_refused(const model::ModelSpec& model, const std::string& json, Code code,
                    const std::string& message) {
  for (const bool exactly : {false, true}) {
    BenchOfBodies bench;
    bench.decoder.read_exactly_only(exactly);
    const base::Status status = bench.decode(model, json);
    ASSERT_FALSE(status.ok()) << json;
    EXPECT_EQ(status.message(), message) << json;
    EXPECT_EQ(status.code(), code) << json;
    bench.forget();
    EXPECT_EQ(bench.allocator().live_blocks(), 0u);
  }
}

TEST(Refusals, Syntax) {
  const std::vector<Refusal> table = {
      {"{", Code::kInternal,
       "failed to parse the request JSON buffer: Missing a name for object member. at 1"},
      {" ", Code::kInternal,
       "failed to parse the request JSON buffer: The document is empty. at 1"},
      {"{}x", Code::kInternal,
       "failed to parse the request JSON buffer: The document root must not be followed by other "
       "values. at 2"},
      // The syntax error at the end outranks the wrong type before it.
      {R"({"id":5,"inputs":[1,]})", Code::kInternal,
       "failed to parse the request JSON buffer: Invalid value. at 20"},
      {R"({"id":5})", Code::kInternal,
       "Unable to parse 'id': attempt to access JSON non-string as string"},
      {"{}", Code::kInternal,
       "Unable to parse 'inputs': attempt to access non-existing object member 'inputs'"},
      {"[]", Code::kInternal,
       "Unable to parse 'inputs': attempt to access non-existing object member 'inputs'"},
      {R"({"inputs":5})", Code::kInternal,
       "Unable to parse 'inputs': attempt to access JSON non-array as array"},
  };
  for (const Refusal& row : table) expect_refused(two_inputs(), row.json, row.code, row.message);
}

TEST(Refusals, Parameters) {
  const auto refused = [](const std::string& parameters, Code code, const std::string& message) {
    expect_refused(two_inputs(), R"({"parameters":)" + parameters + "}", code, message);
  };
  refused(
      R"({"timeout":-1})", Code::kInternal,
      "Unable to parse 'timeout': attempt to access JSON non-unsigned-integer as unsigned-integer");
  refused(R"({"priority":"1"})", Code::kInternal,
          "Unable to parse 'priority': attempt to access JSON non-unsigned-integer as "
          "unsigned-integer");
  refused(R"({"sequence_start":1})", Code::kInternal,
          "Unable to parse 'sequence_start': attempt to access JSON non-boolean as boolean");
  refused(R"({"sequence_id":1.5})", Code::kInternal,
          "Unable to parse 'sequence_id': attempt to access JSON non-string as string");
  refused(R"({"sequence_id":")" + std::string(129, 'x') + R"("})", Code::kUnsupported,
          "string correlation ID cannot be longer than 128 characters");
  refused(R"({"triton_x":1})", Code::kInvalidArgument,
          "parameter keys starting with 'triton_' are reserved for Triton usage and should not be "
          "specified.");
  refused(R"({"deep":{"a":1}})", Code::kInvalidArgument,
          "parameter 'deep' has invalid type. It should be either 'int', 'bool', or 'string'.");
  refused("[1]", Code::kInternal,
          "failed to get request params.: attempt to get members for non-object");
}

TEST(Refusals, MembersOfAnInput) {
  const auto refused = [](const std::string& input, Code code, const std::string& message) {
    expect_refused(two_inputs(), inputs(input), code, message);
  };
  const std::string one_only =
      "Input must set only one of the following fields: 'data', 'binary_data_size' in "
      "'parameters', "
      "'shared_memory_region' in 'parameters'. But";
  refused(R"({"name":"A"})", Code::kInvalidArgument, one_only + " no field is set");
  refused(
      R"({"name":"A","data":[],"parameters":{"binary_data_size":1,"shared_memory_region":"r"}})",
      Code::kInvalidArgument, one_only + " set 'data' 'binary_data_size' 'shared_memory_region'");
  refused(R"({"data":[]})", Code::kInternal,
          "Unable to parse 'name': attempt to access non-existing object member 'name'");
  refused(R"({"name":"A","data":[]})", Code::kInternal,
          "Unable to parse 'datatype': attempt to access non-existing object member 'datatype'");
  refused(R"({"name":"A","datatype":"INT32","data":[]})", Code::kInternal,
          "Unable to parse 'shape': attempt to access non-existing object member 'shape'");
  refused(
      R"({"name":"A","datatype":"INT32","shape":[-1],"data":[]})", Code::kInternal,
      "Unable to parse 'shape': attempt to access JSON non-unsigned-integer as unsigned-integer");
  refused(
      R"({"name":"A","datatype":"INT32","shape":[1,2],"parameters":{"shared_memory_region":"r","shared_memory_byte_size":8}})",
      Code::kNotFound, "Unable to find shared memory region: 'r'");
  refused(R"({"name":"A","datatype":"INT32","shape":[1,2],"parameters":{"binary_data_size":8}})",
          Code::kInvalidArgument,
          "unexpected size for input 'A', expecting 8 additional bytes for model 'pair'");
  refused(std::string(kA) + "," + kA, Code::kInvalidArgument,
          "[request id: <id_unknown>] input 'A' already exists in request");
}

TEST(Refusals, Data) {
  const auto refused = [](Datatype datatype, const std::string& shape, const std::string& data,
                          Code code, const std::string& message) {
    expect_refused(any_model(datatype),
                   inputs(R"({"name":"IN","datatype":")" + std::string(base::wire_name(datatype)) +
                          R"(","shape":)" + shape + R"(,"data":)" + data + "}"),
                   code, message);
  };
  refused(Datatype::kInt32, "[2]", "[1,2,3]", Code::kInternal,
          "Unable to parse 'data': Shape does not match true shape of 'data' field");
  refused(Datatype::kInt32, "[2]", "[1]", Code::kInternal,
          "Failed to parse 'data' field: shape does not match true shape");
  refused(Datatype::kInt32, "[1]", "[1.0]", Code::kInternal,
          "Unable to parse 'data': attempt to access JSON non-signed-integer as signed-integer");
  refused(
      Datatype::kUint8, "[1]", "[-1]", Code::kInternal,
      "Unable to parse 'data': attempt to access JSON non-unsigned-integer as unsigned-integer");
  refused(Datatype::kBool, "[1]", "[1]", Code::kInternal,
          "Unable to parse 'data': attempt to access JSON non-boolean as boolean");
  refused(Datatype::kFp32, "[1]", "[\"1\"]", Code::kInternal,
          "Unable to parse 'data': attempt to access JSON non-number as double");
  refused(Datatype::kBytes, "[1]", "[1]", Code::kInternal,
          "Unable to parse JSON bytes array: attempt to access JSON non-string as string");
  refused(Datatype::kInt32, "[1]", "5", Code::kInternal,
          "Unable to parse 'data': attempt to access JSON non-array as array");
  refused(Datatype::kFp16, "[1]", "[1]", Code::kInvalidArgument,
          "receiving FP16 data via JSON is not supported. Please use the binary data format for "
          "input IN");
  refused(Datatype::kBf16, "[1]", "[1]", Code::kInvalidArgument,
          "receiving BF16 data via JSON is not supported. Please use the binary data format for "
          "input IN");
  refused(Datatype::kInt32, "[4294967296,4294967296]", "[1]", Code::kInvalidArgument,
          "invalid shape for input 'IN': shape [4294967296,4294967296] causes total element count "
          "to exceed "
          "maximum size of 9223372036854775807");
  refused(Datatype::kInt32, "[4611686018427387904]", "[1]", Code::kInvalidArgument,
          "byte size overflow for input 'IN': 4611686018427387904 elements of INT32 exceed maximum "
          "size of "
          "9223372036854775807 bytes");
  // Refused without memory for what the shape promises.
  refused(Datatype::kInt32, "[1000000000000]", "[1]", Code::kInternal,
          "Failed to parse 'data' field: shape does not match true shape");
  expect_refused(any_model(Datatype::kInt32),
                 inputs(R"({"name":"IN","datatype":"INT33","shape":[1],"data":[1]})"),
                 Code::kInvalidArgument, "invalid datatype for input IN");
}

TEST(Refusals, Depth) {
  for (const size_t depth : {98, 101, 1000, 100'000}) {
    const std::string data = std::string(depth, '[') + "1" + std::string(depth, ']');
    expect_refused(any_model(Datatype::kInt32),
                   inputs(R"({"name":"IN","datatype":"INT32","shape":[1],"data":)" + data + "}"),
                   Code::kInvalidArgument,
                   "JSON nesting depth exceeds maximum allowed limit (100)");
  }
  BenchOfBodies bench;
  const std::string data = std::string(97, '[') + "1" + std::string(97, ']');
  EXPECT_TRUE(
      bench
          .decode(any_model(Datatype::kInt32),
                  inputs(R"({"name":"IN","datatype":"INT32","shape":[1],"data":)" + data + "}"))
          .ok());
  // Also in a member that nobody reads; brackets in strings do not count.
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  const std::string rest =
      R"(,"inputs":[{"name":"IN","datatype":"INT32","shape":[1],"data":[1]}]})";
  expect_refused(any_model(Datatype::kInt32), R"({"x":)" + deep + rest, Code::kInvalidArgument,
                 "JSON nesting depth exceeds maximum allowed limit (100)");
  EXPECT_TRUE(
      bench.decode(any_model(Datatype::kInt32), R"({"y":{},"x":")" + deep + "\"" + rest).ok());
}

TEST(Refusals, Outputs) {
  const auto refused = [](const std::string& outputs, Code code, const std::string& message) {
    expect_refused(
        two_inputs(),
        R"({"inputs":[)" + std::string(kA) + "," + kB + R"(],"outputs":)" + outputs + "}", code,
        message);
  };
  refused("5", Code::kInternal,
          "Unable to parse 'outputs': attempt to access JSON non-array as array");
  refused("[{}]", Code::kInternal,
          "Unable to parse 'name': attempt to access non-existing object member 'name'");
  refused(R"([{"name":"X"},{"name":"X"}])", Code::kInvalidArgument,
          "[request id: <id_unknown>] output 'X' already exists in request");
  refused(R"([{"name":"Z2"},{"name":"Z1"}])", Code::kInvalidArgument,
          "unexpected inference output 'Z1' for model 'pair'");
  refused(R"([{"name":"X","parameters":{"shared_memory_region":"r","classification":1}}])",
          Code::kInvalidArgument,
          "Output can't set both 'shared_memory_region' and 'classification'");
  refused(R"([{"name":"X","parameters":{"shared_memory_region":"r","binary_data":true}}])",
          Code::kInvalidArgument, "Output can't set both 'shared_memory_region' and 'binary_data'");
  refused(R"([{"name":"X","parameters":{"shared_memory_region":"r","binary_data":false}}])",
          Code::kNotFound, "Unable to find shared memory region: 'r'");
  refused(R"([{"name":"X","parameters":{"binary_data":1}}])", Code::kInternal,
          "Unable to parse 'binary_data': attempt to access JSON non-boolean as boolean");
  refused(R"([{"name":"X","parameters":{"classification":-1}}])", Code::kInternal,
          "Unable to set 'classification': attempt to access JSON non-unsigned-integer as "
          "unsigned-integer");
}

TEST(Refusals, BinaryBehindTheJson) {
  BenchOfBodies bench;
  const model::ModelSpec model = any_model(Datatype::kInt32);
  const std::string json =
      R"({"inputs":[{"name":"IN","shape":[2],"datatype":"INT32","parameters":{"binary_data_size":8}}]})";
  EXPECT_EQ(bench.decode(model, json, std::string(9, 'x')).message(),
            "unexpected additional input data for model 'any'");
  EXPECT_EQ(bench.decode(model, json, std::string(5, 'x')).message(),
            "unexpected size for input 'IN', expecting 3 additional bytes for model 'any'");
}

TEST(Refusals, HeaderLength) {
  BenchOfBodies bench;
  const model::ModelSpec model = any_model(Datatype::kInt32);
  const auto message = [&](const char* length) {
    return bench.decode_body(model, "{}", length).message();
  };
  EXPECT_EQ(message("3"), "inference header size should be in range (0, 2), got: 3");
  EXPECT_EQ(message("-1"), "inference header size should be in range (0, 2), got: -1");
  EXPECT_EQ(message("99999999999999999999"),
            "inference header size should be in range (0, 2), got: 99999999999999999999");
  EXPECT_EQ(message("abc"), "Unable to parse Inference-Header-Content-Length, got: abc");
  EXPECT_EQ(message(""), "Unable to parse Inference-Header-Content-Length, got: ");
}

TEST(Refusals, Limits) {
  BenchOfBodies bench;
  bench.max_input_bytes = 80;
  const model::ModelSpec model = any_model(Datatype::kFp64);
  const std::string json =
      R"({"inputs":[{"name":"IN","shape":[11],"datatype":"FP64","data":[1]}]})";
  EXPECT_EQ(bench.decode(model, json).message(),
            "JSON input 'IN' has a byte_size (88 bytes) that exceeds the maximum allowed value of "
            "80 bytes. "
            "Use --http-max-input-size to increase the limit.");
  bench.max_input_bytes = 20;
  EXPECT_EQ(
      bench.decode(model, json).message(),
      "request JSON size of " + std::to_string(json.size()) +
          " bytes exceeds the maximum allowed input size of 20 bytes. Use --http-max-input-size to "
          "increase the limit.");
  EXPECT_EQ(bench.decode_body(model, std::string(24, 'x'), "0").message(),
            "Raw input has a byte_size (24 bytes) that exceeds the maximum allowed value of 20 "
            "bytes. Use "
            "--http-max-input-size to increase the limit.");
}

TEST(Refusals, RawBodies) {
  BenchOfBodies bench;
  EXPECT_EQ(bench.decode_body(two_inputs(), "x", "0").message(),
            "[request id: <id_unknown>] Raw request must only have 1 input (found 1) to be deduced "
            "but got 2 "
            "inputs in 'pair' model configuration");
  const auto of_shape = [&](Datatype datatype, std::vector<int64_t> dims) {
    return bench
        .decode_body(make_model("m", 0, {tensor("IN", datatype, std::move(dims))}, {}), "xyz", "0")
        .message();
  };
  EXPECT_EQ(of_shape(Datatype::kInt8, {-1, -1}),
            "[request id: <id_unknown>] The shape of the raw input 'IN' can not be deduced because "
            "there are "
            "more than one variable-sized dimension");
  EXPECT_EQ(of_shape(Datatype::kBytes, {2}),
            "[request id: <id_unknown>] For BYTE datatype raw input 'IN', the model must have "
            "input shape [1]");
  EXPECT_EQ(
      of_shape(Datatype::kInt16, {-1}),
      "[request id: <id_unknown>] input byte size mismatch for input 'raw_input' for model 'm'. "
      "Expected 2, got 3");
}

TEST(Refusals, FullMemoryIsUnavailableAndNothingIsKept) {
  base::UniqueFd fd;
  ASSERT_TRUE(shm::make_memfd("small", 1 << 20, &fd).ok());
  shm::Mapping mapping;
  ASSERT_TRUE(shm::Mapping::map(fd.get(), true, &mapping).ok());
  shm::Allocator allocator(&mapping, 4096, 4096);
  const OwnMemory memory{1, &mapping, &allocator};
  const std::string json = inputs(R"({"name":"IN","shape":[2000],"datatype":"FP64","data":[)" + [] {
    std::string zeros = "0";
    for (int index = 1; index < 2000; ++index) zeros += ",0";
    return zeros;
  }() + "]}");
  // The body itself lies outside what the allocator may give.
  const uint64_t at = 512 << 10;
  std::memcpy(mapping.data() + at, json.data(), json.size());
  InferDecoder decoder;
  DecodedRequest request;
  const base::Status status =
      decoder.decode(any_model(Datatype::kFp64),
                     {at, json.size(), json.size() + 64, std::nullopt, 0}, memory, &request);
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_NE(status.message().find("the memory for requests is full"), std::string::npos);
  EXPECT_EQ(allocator.live_blocks(), request.blocks.size());
}

}  // namespace
}  // namespace pyserver::protocol
