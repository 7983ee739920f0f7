// What goes out, and from where.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "protocol/grpc/message_reader.h"
#include "protocol/grpc_messages.h"

namespace pyserver::protocol::grpc {
namespace {

using base::Datatype;

// The fields of a message with the number `field`, in order.
std::vector<std::string> fields_of(std::string_view message, uint32_t field) {
  std::vector<std::string> found;
  MessageReader reader(message);
  while (reader.next()) {
    if (reader.field() == field) found.emplace_back(reader.bytes());
  }
  EXPECT_TRUE(reader.complete());
  return found;
}

std::string body_of(const EncodedMessage& message) { return joined(message).substr(5); }

TEST(GrpcEncode, TensorsAreSentFromWhereTheyLie) {
  std::string large(100'000, 'x');
  const uint8_t* where = reinterpret_cast<const uint8_t*>(large.data());
  MadeGrpcResponse response;
  response.add("OUT", 0, Datatype::kInt8, {100'000}, std::move(large));
  EncodedMessage out;
  ASSERT_TRUE(response.encode(any_model(Datatype::kInt8), {}, std::nullopt, &out).ok());
  ASSERT_EQ(out.spans.size(), 2u);
  EXPECT_EQ(out.spans[1].data(), where);
  EXPECT_EQ(out.spans[1].size(), 100'000u);
  EXPECT_LT(out.spans[0].size(), 64u);
}

TEST(GrpcEncode, OnlyWishedOutputsInTheOrderOfTheBackend) {
  const model::ModelSpec model =
      make_model("m", 0, {},
                 {tensor("A", Datatype::kInt8, {1}), tensor("B", Datatype::kInt8, {1}),
                  tensor("C", Datatype::kInt8, {1})});
  MadeGrpcResponse response;
  response.add("C", 2, Datatype::kInt8, {1}, "3");
  response.add("B", 1, Datatype::kInt8, {1}, "2");
  response.add("A", 0, Datatype::kInt8, {1}, "1");
  DecodedRequest request;
  request.wishes = {{"A", true, 0}, {"C", true, 0}};
  EncodedMessage out;
  ASSERT_TRUE(response.encode(model, request, std::nullopt, &out).ok());
  const std::string body = body_of(out);
  const std::vector<std::string> outputs = fields_of(body, 5);
  ASSERT_EQ(outputs.size(), 2u);
  EXPECT_EQ(fields_of(outputs[0], 1), (std::vector<std::string>{"C"}));
  EXPECT_EQ(fields_of(outputs[1], 1), (std::vector<std::string>{"A"}));
  EXPECT_EQ(fields_of(body, 6), (std::vector<std::string>{"3", "1"}));
}

TEST(GrpcEncode, OneRawEntryForEachOutput) {
  MadeGrpcResponse response;
  for (const char* name : {"A", "B", "C", "D"}) {
    response.add(name, 0xffff, Datatype::kInt8, {0}, *name == 'B' ? "b" : "");
  }
  EncodedMessage out;
  ASSERT_TRUE(response.encode(any_model(Datatype::kInt8), {}, std::nullopt, &out).ok());
  EXPECT_EQ(fields_of(body_of(out), 6), (std::vector<std::string>{"", "b", "", ""}));
  EXPECT_EQ(out.spans.size(), 3u);
}

TEST(GrpcEncode, OutputReshapeIsUndone) {
  model::ModelSpec model = make_model("m", 8, {}, {tensor("OUT", Datatype::kInt8, {2, 3})});
  model.outputs[0].reshape = std::vector<int64_t>{6};
  MadeGrpcResponse response;
  response.add("OUT", 0, Datatype::kInt8, {1, 6}, "abcdef");
  EncodedMessage out;
  ASSERT_TRUE(response.encode(model, {}, std::nullopt, &out).ok());
  EXPECT_EQ(fields_of(fields_of(body_of(out), 5).at(0), 3).at(0), std::string("\1\2\3"));
}

TEST(GrpcEncode, BytesThatAreGone) {
  shm::ResponseBuilder builder;
  builder.add_output("OUT", 0, Datatype::kInt8, std::vector<int64_t>{1},
                     {shm::Place::kRegion, 9, 0, 1});
  shm::ResponseView view;
  ASSERT_TRUE(view.parse(builder.finish()).ok());
  const FindBytes find = [](const shm::TensorEntry&) { return std::nullopt; };
  EncodedMessage out;
  const base::Status status = encode(any_model(Datatype::kInt8), {}, view, find, &out);
  EXPECT_EQ(status.code(), base::Code::kInternal);
  EXPECT_EQ(status.message(), "the bytes of output 'OUT' of model 'any' are no longer there");
}

TEST(GrpcEncode, AResponseOverTheLimit) {
  // The encoder looks at sizes only, so that the same bytes may stand for all of them.
  const std::vector<uint8_t> block(1);
  for (const uint64_t bytes : {uint64_t{INT32_MAX}, uint64_t{1} << 31, uint64_t{1} << 33}) {
    shm::ResponseBuilder builder;
    builder.add_output("OUT", 0, Datatype::kInt8, std::vector<int64_t>{1},
                       {shm::Place::kRegion, 9, 0, bytes});
    shm::ResponseView view;
    ASSERT_TRUE(view.parse(builder.finish()).ok());
    const FindBytes find = [&](const shm::TensorEntry& entry) {
      return std::span<const uint8_t>(block.data(), entry.byte_size);
    };
    EncodedMessage out;
    const base::Status status = encode(any_model(Datatype::kInt8), {}, view, find, &out);
    EXPECT_EQ(status.code(), base::Code::kInvalidArgument);
    const std::string text = status.message();
    EXPECT_TRUE(text.starts_with("Response has byte size ")) << text;
    EXPECT_TRUE(text.ends_with(" which exceeds gRPC's byte size limit 2147483647.")) << text;
    EXPECT_GT(std::stoull(text.substr(23)), bytes);
  }
}

TEST(GrpcEncode, AMovedMessageIsStillWhole) {
  DecodedRequest request;
  request.wishes = {{"OUT", true, 1}};
  MadeGrpcResponse response;
  response.add_values<float>("OUT", 0, Datatype::kFp32, {2}, {1, 2});
  EncodedMessage out;
  ASSERT_TRUE(response.encode(any_model(Datatype::kFp32), request, true, &out).ok());
  const std::string before = joined(out);
  const EncodedMessage moved = std::move(out);
  EXPECT_EQ(joined(moved), before);
  EXPECT_NE(before.find("2.000000:1"), std::string::npos);
}

TEST(GrpcEncode, StreamsOfEveryLengthOfLength) {
  for (const size_t size : {0u, 1u, 90u, 127u, 128u, 16000u, 16384u, 3000000u}) {
    MadeGrpcResponse response;
    response.add("OUT", 0, Datatype::kInt8, {1}, std::string(size, 'x'));
    EncodedMessage out;
    ASSERT_TRUE(response.encode(any_model(Datatype::kInt8), {}, false, &out).ok());
    const std::vector<std::string> inner = fields_of(body_of(out), 2);
    ASSERT_EQ(inner.size(), 1u);
    EXPECT_EQ(fields_of(inner[0], 6), (std::vector<std::string>{std::string(size, 'x')}));
  }
}

TEST(GrpcEncode, NoTensorsAfterAnother) {
  MadeGrpcResponse response;
  response.add("OUT", 0, Datatype::kInt8, {1}, "x");
  EncodedMessage out;
  ASSERT_TRUE(response.encode(any_model(Datatype::kInt8), {}, false, &out).ok());
  encode_stream_notice({"no", "", "", "", std::nullopt}, &out);
  EXPECT_EQ(out.spans.size(), 1u);
  EXPECT_EQ(out.byte_size, out.spans[0].size());
}

}  // namespace
}  // namespace pyserver::protocol::grpc
