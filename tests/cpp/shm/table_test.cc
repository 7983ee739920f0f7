// Tables: what is written is read back, and nothing else is ever believed.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "shm/layout.h"
#include "shm/table.h"

namespace pyserver::shm {
namespace {

using base::Datatype;

std::vector<uint8_t> made_request() {
  RequestBuilder builder;
  builder.header.model = 3;
  builder.header.flags = kSequenceEnd;
  builder.header.correlation_id = 99;
  builder.header.priority = 2;
  builder.header.timeout_us = 1000;
  builder.header.batch_size = 4;
  builder.set_request_id("request");
  builder.set_correlation_text("correlation");
  builder.add_input("first", 0, Datatype::kFp32, std::vector<int64_t>{4, -1},
                    {Place::kRegion, 7, 64, 128});
  builder.add_input("", 1, Datatype::kBytes, {}, {Place::kSystemClient, 1, 0, 3});
  builder.add_output("answer", 5, {Place::kCudaClient, 2, 8, 9});
  builder.add_parameter({"text", std::string("value")});
  builder.add_parameter({"empty", std::string()});
  builder.add_parameter({"whole", int64_t{-5}});
  builder.add_parameter({"real", -0.5});
  builder.add_parameter({"flag", true});
  const std::span<const uint8_t> bytes = builder.finish();
  return {bytes.begin(), bytes.end()};
}

std::vector<uint8_t> made_response() {
  ResponseBuilder builder;
  builder.set_message("what went wrong");
  builder.add_output("out", 0, Datatype::kBf16, std::vector<int64_t>{1, 2, 3},
                     {Place::kRegion, 1, 2, 12});
  builder.add_parameter({"key", std::string("value")});
  const std::span<const uint8_t> bytes = builder.finish();
  return {bytes.begin(), bytes.end()};
}

// Reads everything there is; under the sanitizers a bad read ends the test.
uint64_t walk(const TableView& view, std::span<const TensorEntry> tensors) {
  uint64_t sum = 0;
  for (const TensorEntry& tensor : tensors) {
    for (const char letter : view.text(tensor.name)) sum += static_cast<uint8_t>(letter);
    for (const int64_t dim : view.shape(tensor)) sum += static_cast<uint64_t>(dim);
    sum += base::wire_name(tensor.datatype).size();
  }
  for (const ParameterEntry& entry : view.parameters()) sum += view.parameter(entry).key.size();
  return sum;
}

void read_all(std::span<const uint8_t> bytes) {
  RequestView request;
  if (request.parse(bytes).ok()) {
    uint64_t sum = walk(request, request.inputs());
    for (const OutputEntry& output : request.outputs()) sum += request.text(output.name).size();
    sum += request.request_id().size() + request.correlation_text().size();
    EXPECT_LT(sum, UINT64_MAX);
  }
  ResponseView response;
  if (response.parse(bytes).ok()) {
    EXPECT_LT(walk(response, response.outputs()) + response.message().size(), UINT64_MAX);
  }
}

TEST(Table, ARequestComesBackAsItWas) {
  const std::vector<uint8_t> bytes = made_request();
  RequestView view;
  ASSERT_EQ(view.parse(bytes).message(), "");
  EXPECT_EQ(view.header().model, 3u);
  EXPECT_EQ(view.header().flags, uint32_t{kSequenceEnd});
  EXPECT_EQ(view.header().correlation_id, 99u);
  EXPECT_EQ(view.header().priority, 2u);
  EXPECT_EQ(view.header().timeout_us, 1000u);
  EXPECT_EQ(view.header().batch_size, 4u);
  EXPECT_EQ(view.request_id(), "request");
  EXPECT_EQ(view.correlation_text(), "correlation");
  ASSERT_EQ(view.inputs().size(), 2u);
  const TensorEntry& first = view.inputs()[0];
  EXPECT_EQ(view.text(first.name), "first");
  EXPECT_EQ(first.datatype, Datatype::kFp32);
  EXPECT_EQ(first.region, 7u);
  EXPECT_EQ(first.offset, 64u);
  EXPECT_EQ(first.byte_size, 128u);
  const std::span<const int64_t> shape = view.shape(first);
  EXPECT_EQ(std::vector<int64_t>(shape.begin(), shape.end()), (std::vector<int64_t>{4, -1}));
  EXPECT_EQ(view.text(view.inputs()[1].name), "");
  EXPECT_TRUE(view.shape(view.inputs()[1]).empty());
  EXPECT_EQ(view.inputs()[1].place, Place::kSystemClient);
  ASSERT_EQ(view.outputs().size(), 1u);
  EXPECT_EQ(view.text(view.outputs()[0].name), "answer");
  EXPECT_EQ(view.outputs()[0].index, 5);
  EXPECT_EQ(view.outputs()[0].place, Place::kCudaClient);
  ASSERT_EQ(view.parameters().size(), 5u);
  const auto value = [&](size_t index) { return view.parameter(view.parameters()[index]).value; };
  EXPECT_EQ(value(0), ParameterValue(std::string("value")));
  EXPECT_EQ(value(1), ParameterValue(std::string()));
  EXPECT_EQ(value(2), ParameterValue(int64_t{-5}));
  EXPECT_EQ(value(3), ParameterValue(-0.5));
  EXPECT_EQ(value(4), ParameterValue(true));
}

TEST(Table, AResponseComesBackAsItWas) {
  const std::vector<uint8_t> bytes = made_response();
  ResponseView view;
  ASSERT_EQ(view.parse(bytes).message(), "");
  EXPECT_EQ(view.message(), "what went wrong");
  ASSERT_EQ(view.outputs().size(), 1u);
  EXPECT_EQ(view.text(view.outputs()[0].name), "out");
  EXPECT_EQ(view.shape(view.outputs()[0])[2], 3);
  EXPECT_EQ(view.parameter(view.parameters()[0]).key, "key");
}

TEST(Table, AClearedBuilderStartsAnew) {
  RequestBuilder builder;
  builder.set_request_id("old");
  builder.header.priority = 5;
  builder.add_input("old", 0, Datatype::kFp32, std::vector<int64_t>{1}, {});
  (void)builder.finish();
  builder.clear();
  RequestView view;
  ASSERT_TRUE(view.parse(builder.finish()).ok());
  EXPECT_EQ(view.request_id(), "");
  EXPECT_EQ(view.header().priority, 0u);
  EXPECT_TRUE(view.inputs().empty());
}

TEST(Table, CutShortAnywhereItIsRefused) {
  for (const std::vector<uint8_t>& bytes : {made_request(), made_response()}) {
    for (size_t size = 0; size < bytes.size(); ++size) {
      // A copy of its own, so that a read beyond the end is seen.
      const std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + static_cast<int64_t>(size));
      RequestView request;
      ResponseView response;
      EXPECT_FALSE(request.parse(cut).ok()) << size;
      EXPECT_FALSE(response.parse(cut).ok()) << size;
    }
  }
}

TEST(Table, AnyByteMayBeAnything) {
  for (const std::vector<uint8_t>& good : {made_request(), made_response()}) {
    for (size_t at = 0; at < good.size(); ++at) {
      std::vector<uint8_t> bytes = good;
      for (int value = 0; value < 256; ++value) {
        bytes[at] = static_cast<uint8_t>(value);
        read_all(bytes);
      }
    }
  }
}

TEST(Table, AnyFourBytesMayBeAnything) {
  for (const std::vector<uint8_t>& good : {made_request(), made_response()}) {
    for (size_t at = 0; at + 4 <= good.size(); ++at) {
      for (const uint32_t value :
           {0u, 1u, 0x7fffffffu, 0x80000000u, 0xfffffff8u, 0xffffffffu,
            static_cast<uint32_t>(good.size()), static_cast<uint32_t>(good.size() - 8)}) {
        std::vector<uint8_t> bytes = good;
        std::memcpy(bytes.data() + at, &value, sizeof value);
        read_all(bytes);
      }
    }
  }
}

}  // namespace
}  // namespace pyserver::shm
