// Against Google's protobuf: what it wrote is read, what it refuses is refused, and what it writes of a response is what we write.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>

#include "protocol/grpc/framing.h"
#include "protocol/grpc_messages.h"

namespace pyserver::protocol::grpc {
namespace {

using base::Datatype;

struct Golden {
  const char* data;
  size_t size;
  std::string_view view() const { return {data, size}; }
};
struct GoldenRequest {
  const char* datatype;
  Golden message;
  Golden tensor;
};
struct GoldenWire {
  const char* datatype;
  Golden bytes;
  bool is_message;
};
struct GoldenResponse {
  const char* name;
  Golden message;
};

#ifndef PYSERVER_GRPC_GOLDEN
#define PYSERVER_GRPC_GOLDEN "protocol/grpc_golden.inc"
#endif
#include PYSERVER_GRPC_GOLDEN

TEST(GrpcGolden, RequestsAreRead) {
  for (const GoldenRequest& row : kRequests) {
    BenchOfMessages bench;
    const Datatype datatype = base::datatype_from_wire(row.datatype).value();
    const base::Status status = bench.decode(any_model(datatype), row.message.view());
    ASSERT_TRUE(status.ok()) << row.datatype << ": " << status.message();
    EXPECT_EQ(bench.request.request_id, "r");
    EXPECT_EQ(bench.input_bytes(0), row.tensor.view()) << row.datatype;
  }
}

TEST(GrpcGolden, DamagedRequestsAreMessagesOrNot) {
  BenchOfMessages bench;
  for (const GoldenWire& row : kWires) {
    const Datatype datatype = base::datatype_from_wire(row.datatype).value();
    const base::Status status = bench.decode(any_model(datatype), row.bytes.view());
    const bool malformed = !status.ok() && status.message() == "Unable to parse request";
    // What we do not need we do not look into, so that damage there may come out as another refusal, but not as a request.
    EXPECT_FALSE(row.is_message && malformed) << testing::PrintToString(row.bytes.view());
    EXPECT_FALSE(!row.is_message && status.ok()) << testing::PrintToString(row.bytes.view());
  }
}

std::string_view golden_of(std::string_view name) {
  for (const GoldenResponse& row : kResponses) {
    if (row.name == name) return row.message.view();
  }
  ADD_FAILURE() << "no response " << name;
  return {};
}

void expect_golden(std::string_view name, const EncodedMessage& message) {
  const std::string bytes = joined(message);
  ASSERT_GE(bytes.size(), kPrefixBytes);
  EXPECT_EQ(bytes.size(), message.byte_size);
  const auto prefix = parse_prefix(span_of(bytes).first<kPrefixBytes>());
  ASSERT_TRUE(prefix);
  EXPECT_FALSE(prefix->compressed);
  EXPECT_EQ(prefix->byte_size, bytes.size() - kPrefixBytes);
  EXPECT_EQ(bytes.substr(kPrefixBytes), golden_of(name)) << name;
  for (const std::span<const uint8_t> span : message.spans) EXPECT_FALSE(span.empty());
}

// `final`: in a stream.
void expect_encoded(std::string_view name, const model::ModelSpec& model,
                    const DecodedRequest& request, MadeGrpcResponse& response,
                    std::optional<bool> final = std::nullopt) {
  EncodedMessage message;
  const base::Status status = response.encode(model, request, final, &message);
  ASSERT_TRUE(status.ok()) << status.message();
  expect_golden(name, message);
}

DecodedRequest request_r() {
  DecodedRequest request;
  request.request_id = "r";
  return request;
}

TEST(GrpcGolden, Responses) {
  MadeGrpcResponse plain;
  plain.add_values<float>("OUT", 0, Datatype::kFp32, {1, 2}, {1, 2});
  expect_encoded("plain", any_model(Datatype::kFp32), request_r(), plain);

  MadeGrpcResponse several;
  several.add("OUT", 0, Datatype::kInt8, {-1, int64_t{1} << 40, 0}, "");
  several.add("B", 0xffff, Datatype::kBytes, {2},
              std::string("\1\0\0\0x\x2c\1\0\0", 9) + std::string(300, 'y'));
  several.add("C", 0xffff, Datatype::kInt8, {0}, "");
  expect_encoded("several", any_model(Datatype::kInt8), request_r(), several);

  MadeGrpcResponse nothing;
  expect_encoded("nothing", any_model(Datatype::kInt8), {}, nothing);
}

TEST(GrpcGolden, ParametersOfResponses) {
  const std::vector<std::pair<const char*, shm::Parameter>> table = {
      {"bool", {"flag", false}},
      {"int", {"whole", int64_t{-1}}},
      {"double", {"real", 0.0}},
      {"string", {"", std::string()}},
  };
  for (const auto& [name, parameter] : table) {
    MadeGrpcResponse response;
    response.builder.add_parameter(parameter);
    expect_encoded(name, any_model(Datatype::kInt8), {}, response);
  }
}

TEST(GrpcGolden, Classification) {
  model::ModelSpec model = any_model(Datatype::kInt32);
  model.outputs[0].labels = {"ant", "bee", "fox"};
  model.outputs[0].labels[1] = "";
  DecodedRequest request;
  request.wishes = {{"OUT", true, 2}};
  MadeGrpcResponse response;
  response.add_values<int32_t>("OUT", 0, Datatype::kInt32, {3}, {1, 2, 3});
  expect_encoded("classes", model, request, response);
}

TEST(GrpcGolden, Streams) {
  for (const bool final : {false, true}) {
    MadeGrpcResponse response;
    response.add("OUT", 0, Datatype::kInt8, {1}, "\7");
    expect_encoded(final ? "stream_final" : "stream", any_model(Datatype::kInt8), request_r(),
                   response, final);
  }
}

TEST(GrpcGolden, StreamsWithoutTensors) {
  const std::vector<std::pair<const char*, StreamNotice>> table = {
      {"only_final", {"", "any", "", "r", true}},
      {"error", {"no", "", "", "r", std::nullopt}},
      {"bare_error", {"no", "", "", "", std::nullopt}},
      {"late_error", {"no", "any", "1", "r", true}},
  };
  for (const auto& [name, notice] : table) {
    EncodedMessage message;
    encode_stream_notice(notice, &message);
    expect_golden(name, message);
  }
}

}  // namespace
}  // namespace pyserver::protocol::grpc
