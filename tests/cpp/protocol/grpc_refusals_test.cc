// ModelInferRequests that are refused: each with the code and the words that Triton's clients know.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "protocol/grpc_messages.h"

namespace pyserver::protocol::grpc {
namespace {

using base::Code;
using base::Datatype;

model::ModelSpec pair_model() {
  return make_model("pair", 8,
                    {tensor("A", Datatype::kInt32, {2}), tensor("B", Datatype::kBytes, {-1})},
                    {tensor("X", Datatype::kInt32, {2}), tensor("Y", Datatype::kInt32, {2})});
}

const std::string kA = tensor_of("A", "INT32", {1, 2});
const std::string kB = tensor_of("B", "BYTES", {1, 1});
const std::string kEightBytes(8, 'x');

void expect_refused(const model::ModelSpec& model, const std::string& message, Code code,
                    const std::string& text) {
  BenchOfMessages bench;
  const base::Status status = bench.decode(model, message);
  ASSERT_FALSE(status.ok()) << text;
  EXPECT_EQ(status.message(), text);
  EXPECT_EQ(status.code(), code) << text;
  bench.forget();
  EXPECT_EQ(bench.allocator().live_blocks(), 0u);
}

void expect_invalid(const std::string& message, const std::string& text) {
  expect_refused(pair_model(), message, Code::kInvalidArgument, text);
}

TEST(GrpcRefusals, TypesOfParameters) {
  struct Row {
    const char* key;
    const char* wanted;
    std::vector<std::string> bad;
  };
  const std::string flag = bool_param(true), whole = int64_param(1), text = string_param("x"),
                    real = double_param(1), unsigned_whole = uint64_param(1), unset;
  const std::vector<Row> table = {
      {"sequence_id", "int64_param or string_param", {flag, real, unsigned_whole, unset}},
      {"sequence_start", "bool_param", {whole, text, real, unsigned_whole, unset}},
      {"sequence_end", "bool_param", {whole, text, real, unsigned_whole, unset}},
      {"priority", "int64_param or uint64_param", {flag, text, real, unset}},
      {"timeout", "int64_param", {flag, text, real, unsigned_whole, unset}},
      {"triton_enable_empty_final_response", "bool_param", {whole, text, real, unset}},
      {"custom", "int64_param, bool_param, or string_param", {unsigned_whole, unset}},
  };
  for (const Row& row : table) {
    for (const std::string& value : row.bad) {
      expect_invalid(with_parameter(row.key, value),
                     "invalid value type for '" + std::string(row.key) + "' parameter, expected " +
                         row.wanted + ".");
    }
  }
}

TEST(GrpcRefusals, ValuesOfParameters) {
  expect_invalid(with_parameter("priority", int64_param(-1)),
                 "invalid value for 'priority', expected value >= 0.");
  expect_invalid(with_parameter("triton_x", bool_param(true)),
                 "parameter keys starting with 'triton_' are reserved for Triton usage. Only the "
                 "following keys starting with 'triton_' are allowed: "
                 "triton_enable_empty_final_response");
  expect_refused(pair_model(), with_parameter("sequence_id", string_param(std::string(129, 'x'))),
                 Code::kUnsupported, "string correlation ID cannot be longer than 128 characters");
  // An entry without a value has its default, which is none of the kinds.
  expect_invalid(bytes_field(4, bytes_field(1, "k")),
                 "invalid value type for 'k' parameter, expected int64_param, bool_param, or "
                 "string_param.");
}

TEST(GrpcRefusals, WhereTheDataIs) {
  expect_invalid(with_input(kA) + with_input(kB) + with_raw(kEightBytes),
                 "unable to find data for input tensor 'B' for model 'pair' in request.");
  expect_invalid(with_input(kA) + with_input(kB),
                 "unable to find data for input tensor 'A' for model 'pair' in request.");
  expect_invalid(with_input(kA) + with_input(kB + with_contents("")) + with_raw(kEightBytes),
                 "contents field must not be specified when using raw_input_contents for 'B' for "
                 "model 'pair'");
}

std::string datatype_refusal(const std::string& sent, const std::string& declared) {
  return "unexpected explicit tensor data for input tensor 'A' for model 'pair' of type '" + sent +
         "', expected datatype '" + declared + "'";
}

TEST(GrpcRefusals, TypedContentsInTheWrongField) {
  struct Row {
    std::string contents;
    const char* of_int32;  // how the field is called for an INT32 input; null where it is right
    const char* of_fp16;
  };
  const std::vector<Row> table = {
      {number_field(1, 1), "BOOL", "BOOL"},     {number_field(2, 1), nullptr, "INT32"},
      {number_field(3, 1), "INT64", "INT64"},   {number_field(4, 1), "UINT32", "UINT32"},
      {number_field(5, 1), "UINT64", "UINT64"}, {fixed_field(6, 1.0f), "FP32", "FP32"},
      {fixed_field(7, 1.0), "FP64", "FP64"},    {bytes_field(8, "x"), "BYTES", "BYTES"},
  };
  for (const Row& row : table) {
    if (row.of_int32 != nullptr) {
      expect_invalid(with_input(kA + with_contents(row.contents)),
                     datatype_refusal(row.of_int32, "INT32"));
    }
    for (const char* declared : {"FP16", "BF16"}) {
      expect_invalid(with_input(tensor_of("A", declared, {1, 2}) + with_contents(row.contents)),
                     datatype_refusal(row.of_fp16, declared));
    }
    expect_invalid(with_input(tensor_of("A", "TEXT", {1, 2}) + with_contents(row.contents)),
                   datatype_refusal(row.of_fp16, "<invalid>"));
  }
  expect_invalid(with_input(kA + with_contents(number_field(2, 1) + number_field(3, 1))),
                 "unexpected explicit tensor data for input tensor 'A' for model 'pair', binary "
                 "data was already supplied.");
  // The field of the smaller number is looked at first.
  expect_invalid(with_input(kA + with_contents(number_field(2, 1) + number_field(1, 1))),
                 datatype_refusal("BOOL", "INT32"));
}

TEST(GrpcRefusals, SharedMemoryOfInputs) {
  const std::string region = with_tensor_parameter("shared_memory_region", string_param("r"));
  const std::string size = with_tensor_parameter("shared_memory_byte_size", int64_param(8));
  const std::string offset = with_tensor_parameter("shared_memory_offset", int64_param(0));
  const auto refused = [](const std::string& parameters, Code code, const std::string& text) {
    expect_refused(pair_model(), with_input(kA + parameters), code, text);
  };
  refused(region + size + offset, Code::kNotFound, "Unable to find shared memory region: 'r'");
  refused(region + size + with_contents(number_field(2, 1)), Code::kInvalidArgument,
          "unexpected 'content' provided when using shared memory for input tensor 'A' for model "
          "'pair'");
  refused(region, Code::kInvalidArgument,
          "'shared_memory_byte_size' must be specified along with 'shared_memory_region' parameter "
          "for tensor 'A'");
  refused(size, Code::kInvalidArgument,
          "'shared_memory_byte_size' can not be specified without 'shared_memory_region' parameter "
          "for tensor 'A'");
  refused(offset, Code::kInvalidArgument,
          "'shared_memory_offset' can not be specified without 'shared_memory_region' parameter "
          "for tensor 'A'");
  refused(with_tensor_parameter("shared_memory_region", int64_param(1)) + size,
          Code::kInvalidArgument,
          "invalid value type for 'shared_memory_region' parameter for tensor 'A', expected "
          "string_param.");
  refused(region + with_tensor_parameter("shared_memory_byte_size", uint64_param(8)),
          Code::kInvalidArgument,
          "invalid value type for 'shared_memory_byte_size' parameter for tensor 'A', expected "
          "int64_param.");
  refused(region + size + with_tensor_parameter("shared_memory_offset", string_param("0")),
          Code::kInvalidArgument,
          "invalid value type for 'shared_memory_offset' parameter for tensor 'A', expected "
          "int64_param.");
}

TEST(GrpcRefusals, RequestedOutputs) {
  const std::string inputs = with_input(kA) + with_input(kB) + with_raw(kEightBytes) +
                             with_raw(std::string("\1\0\0\0x", 5));
  const auto refused = [&](const std::string& parameters, Code code, const std::string& text) {
    expect_refused(pair_model(), inputs + with_output(bytes_field(1, "X") + parameters), code,
                   text);
  };
  const auto parameter = [](const char* key, const std::string& value) {
    return bytes_field(2, map_entry(key, value));
  };
  refused(parameter("classification", uint64_param(1)), Code::kInvalidArgument,
          "invalid value type for 'classification' parameter, expected int64_param");
  for (const int64_t count : {int64_t{0}, int64_t{-1}, INT64_MIN}) {
    refused(parameter("classification", int64_param(count)), Code::kInvalidArgument,
            "invalid value for 'classification' parameter, expected >= 0");
  }
  const std::string shared = parameter("shared_memory_region", string_param("r")) +
                             parameter("shared_memory_byte_size", int64_param(8));
  refused(shared, Code::kNotFound, "Unable to find shared memory region: 'r'");
  refused(shared + parameter("classification", int64_param(1)), Code::kInvalidArgument,
          "output can't set both 'shared_memory_region' and 'classification'");
  refused(parameter("shared_memory_offset", int64_param(8)), Code::kInvalidArgument,
          "'shared_memory_offset' can not be specified without 'shared_memory_region' parameter "
          "for tensor 'X'");
  expect_invalid(inputs + with_output(bytes_field(1, "Z")),
                 "unexpected inference output 'Z' for model 'pair'");
  expect_invalid(
      with_id("7") + inputs + with_output(bytes_field(1, "X")) + with_output(bytes_field(1, "X")),
      "[request id: 7] output 'X' already exists in request");
}

TEST(GrpcRefusals, ChecksSharedWithHttp) {
  expect_invalid(with_id("7") + with_input(kA) + with_input(kA),
                 "[request id: 7] input 'A' already exists in request");
  expect_invalid(with_input(kA) + with_raw(kEightBytes),
                 "[request id: <id_unknown>] expected 2 inputs but got 1 inputs for model 'pair'. "
                 "Got input(s) ['A'], but missing required input(s) ['B']. Please provide all "
                 "required input(s).");
  expect_refused(identity_model(),
                 with_input(tensor_of("INPUT0", "FP32", {1, 16})) + with_raw("abcd"),
                 Code::kInvalidArgument,
                 "[request id: <id_unknown>] input byte size mismatch for input 'INPUT0' for model "
                 "'identity'. Expected 64, got 4");
  expect_refused(
      identity_model(),
      with_input(tensor_of("INPUT0", "FP32", {1, 16}) + with_contents(fixed_field(6, 1.f))),
      Code::kInvalidArgument,
      "[request id: <id_unknown>] input byte size mismatch for input 'INPUT0' for model "
      "'identity'. Expected 64, got 4");
  expect_refused(identity_model(),
                 with_input(tensor_of("INPUT0", "FP64", {1, 16})) + with_raw(std::string(128, 'x')),
                 Code::kInvalidArgument,
                 "[request id: <id_unknown>] inference input 'INPUT0' data-type is 'FP64', but "
                 "model 'identity' expects 'FP32'");
  expect_refused(any_model(Datatype::kInt8),
                 with_input(tensor_of("IN", "INT8", {-1})) + with_raw("x"), Code::kInvalidArgument,
                 "[request id: <id_unknown>] All input dimensions should be specified for input "
                 "'IN' for model 'any', got [-1]");
}

TEST(GrpcRefusals, MoreThanCanBeMeant) {
  std::string inputs;
  for (int index = 0; index < 2000; ++index) {
    inputs += with_input(tensor_of("i" + std::to_string(index), "INT8", {1}));
  }
  expect_invalid(inputs, "expected at most 2 inputs but got 2000 inputs for model 'pair'");
  std::string outputs;
  for (int index = 0; index < 2000; ++index) {
    outputs += with_output(bytes_field(1, "o" + std::to_string(index)));
  }
  expect_invalid(outputs, "expected at most 2 outputs but got 2000 outputs for model 'pair'");
  std::string parameters;
  for (int index = 0; index <= 65536; ++index) parameters += with_parameter("", bool_param(true));
  expect_invalid(parameters,
                 "expected at most 65536 parameters but got 65537 parameters for model 'pair'");
  expect_invalid(with_parameter("k", string_param(std::string(16 << 20, 'x'))),
                 "the id and the parameters of the request for model 'pair' take 16777217 bytes; "
                 "at most 16777216 are supported");
  expect_invalid(with_input(tensor_of("A", "INT32", std::vector<int64_t>(65, 1))),
                 "the shape of input 'A' for model 'pair' has 65 dimensions; at most 64 are "
                 "supported");
}

TEST(GrpcRefusals, AFullRegion) {
  BenchOfMessages bench(1 << 20);
  std::string contents;
  const std::string packed(400'000, '\1');  // as INT64 eight times as much
  const std::string input =
      tensor_of("IN", "INT64", {400'000}) + with_contents(bytes_field(3, packed));
  const base::Status status = bench.decode(any_model(Datatype::kInt64), with_input(input));
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_EQ(status.message(),
            "the memory for requests is full: no room for the 3200000 bytes of input 'IN'; try "
            "again later");
}

}  // namespace
}  // namespace pyserver::protocol::grpc
