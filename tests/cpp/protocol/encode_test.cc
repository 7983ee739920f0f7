// Responses: their JSON byte for byte, and what goes out as binary.
#include <gtest/gtest.h>

#include <cmath>

#include <string>
#include <vector>

#include "protocol/bench_of_bodies.h"

namespace pyserver::protocol {
namespace {

using base::Datatype;

struct Encoded {
  base::Status status;
  EncodedResponse out;
};

Encoded encode_one(const model::ModelSpec& model, const DecodedRequest& request,
                   MadeResponse& response) {
  Encoded encoded;
  encoded.status = response.encode(model, request, &encoded.out);
  return encoded;
}

template <typename T>
std::string data_of(Datatype datatype, const std::vector<T>& values) {
  MadeResponse response;
  response.add_values("OUT", 0, datatype, {static_cast<int64_t>(values.size())}, values);
  EncodedResponse out;
  const base::Status status = response.encode(any_model(datatype), DecodedRequest(), &out);
  if (!status.ok()) return status.message();
  const size_t begin = out.json.find("\"data\":") + 7;
  return out.json.substr(begin, out.json.size() - begin - 3);
}

TEST(Encode, MembersInTritonsOrder) {
  MadeResponse response;
  response.builder.add_parameter({"flag", true});
  response.builder.add_parameter({"whole", int64_t{-3}});
  response.builder.add_parameter({"real", 2.0});
  response.builder.add_parameter({"text", std::string("a\"b")});
  response.add_values<int32_t>("OUT", 0, Datatype::kInt32, {1, 2}, {5, -6});
  DecodedRequest request;
  request.request_id = "r\n1";
  const Encoded encoded = encode_one(any_model(Datatype::kInt32), request, response);
  EXPECT_EQ(
      encoded.out.json,
      R"({"id":"r\n1","model_name":"any","model_version":"1","parameters":{"flag":true,"whole":-3,)"
      R"("real":2.0,"text":"a\"b"},"outputs":[{"name":"OUT","datatype":"INT32","shape":[1,2],"data":[5,-6]}]})");
  EXPECT_FALSE(encoded.out.octet_stream);
}

TEST(Encode, NumbersOfEveryDatatype) {
  EXPECT_EQ(data_of<uint8_t>(Datatype::kBool, {0, 1, 2}), "[false,true,true]");
  EXPECT_EQ(data_of<uint8_t>(Datatype::kUint8, {0, 255}), "[0,255]");
  EXPECT_EQ(data_of<uint16_t>(Datatype::kUint16, {65535}), "[65535]");
  EXPECT_EQ(data_of<uint32_t>(Datatype::kUint32, {4294967295u}), "[4294967295]");
  EXPECT_EQ(data_of<uint64_t>(Datatype::kUint64, {UINT64_MAX}), "[18446744073709551615]");
  EXPECT_EQ(data_of<int8_t>(Datatype::kInt8, {-128}), "[-128]");
  EXPECT_EQ(data_of<int16_t>(Datatype::kInt16, {-32768}), "[-32768]");
  EXPECT_EQ(data_of<int32_t>(Datatype::kInt32, {INT32_MIN}), "[-2147483648]");
  EXPECT_EQ(data_of<int64_t>(Datatype::kInt64, {INT64_MIN}), "[-9223372036854775808]");
  EXPECT_EQ(data_of<float>(Datatype::kFp32, {0.1f, 1.0f, -0.0f, 16777216.0f}),
            "[0.10000000149011612,1.0,-0.0,16777216.0]");
  EXPECT_EQ(data_of<double>(Datatype::kFp64, {1e-6, 1e-7, 1e20, 1e21, 1.5e22, -123.456}),
            "[0.000001,1e-7,100000000000000000000.0,1e21,1.5e22,-123.456]");
  EXPECT_EQ(data_of<float>(Datatype::kFp32, {NAN, INFINITY, -INFINITY}),
            "[NaN,Infinity,-Infinity]");
  EXPECT_EQ(
      data_of<uint16_t>(Datatype::kFp16, {0}),
      "sending FP16 data via JSON is not supported. Please use the binary data format for output");
}

TEST(Encode, Strings) {
  MadeResponse response;
  response.add("OUT", 0, Datatype::kBytes, {3},
               std::string("\2\0\0\0a\x01\0\0\0\0\3\0\0\0\"\xc3\xbc", 17));
  const Encoded encoded = encode_one(any_model(Datatype::kBytes), {}, response);
  EXPECT_EQ(
      encoded.out.json,
      R"({"model_name":"any","model_version":"1","outputs":[{"name":"OUT","datatype":"BYTES",)"
      "\"shape\":[3],\"data\":[\"a\\u0001\",\"\",\"\\\"\xc3\xbc\"]}]}");
}

TEST(Encode, SizeAndShapeMustAgree) {
  const std::string mismatch =
      "Failed to write 'data' field: output tensor shape does not match size of output for 'OUT'";
  for (const Datatype datatype : {Datatype::kInt32, Datatype::kBytes}) {
    MadeResponse response;
    response.add("OUT", 0, datatype, {2}, std::string("\1\0\0\0a", 5));
    const Encoded encoded = encode_one(any_model(datatype), {}, response);
    EXPECT_EQ(encoded.status.message(), mismatch);
    EXPECT_EQ(encoded.status.code(), base::Code::kInternal);
  }
  MadeResponse response;
  response.add("OUT", 0, Datatype::kInt64, {int64_t{1} << 61, 8}, "");
  EXPECT_EQ(encode_one(any_model(Datatype::kInt64), {}, response).status.message(), mismatch);
}

TEST(Encode, BinaryIsSentFromWhereItLies) {
  MadeResponse response;
  response.add_values<float>("OUT", 0, Datatype::kFp32, {2}, {1, 2});
  DecodedRequest request;
  request.binary_default = true;
  const Encoded encoded = encode_one(any_model(Datatype::kFp32), request, response);
  EXPECT_EQ(encoded.out.json,
            R"({"model_name":"any","model_version":"1","outputs":[{"name":"OUT","datatype":"FP32",)"
            R"("shape":[2],"parameters":{"binary_data_size":8}}]})");
  ASSERT_EQ(encoded.out.binary.size(), 1u);
  EXPECT_EQ(encoded.out.binary_bytes, 8u);
  EXPECT_TRUE(encoded.out.octet_stream);
  EXPECT_TRUE(encoded.out.kept.empty());
}

TEST(Encode, AnEmptyBinaryAloneIsPlainJson) {
  MadeResponse response;
  response.add("OUT", 0, Datatype::kFp32, {0}, "");
  DecodedRequest request;
  request.binary_default = true;
  const Encoded encoded = encode_one(any_model(Datatype::kFp32), request, response);
  EXPECT_NE(encoded.out.json.find("\"binary_data_size\":0"), std::string::npos);
  EXPECT_FALSE(encoded.out.octet_stream);
  EXPECT_TRUE(encoded.out.binary.empty());
}

TEST(Encode, OnlyWishedOutputsInTheOrderOfTheBackend) {
  const model::ModelSpec model =
      make_model("m", 0, {},
                 {tensor("A", Datatype::kInt8, {1}), tensor("B", Datatype::kInt8, {1}),
                  tensor("C", Datatype::kInt8, {1})});
  MadeResponse response;
  response.add("C", 2, Datatype::kInt8, {1}, "\3");
  response.add("B", 1, Datatype::kInt8, {1}, "\2");
  response.add("A", 0, Datatype::kInt8, {1}, "\1");
  DecodedRequest request;
  request.binary_default = true;  // governs only outputs that were not listed
  request.wishes = {{"A", true, 0}, {"C", false, 0}};
  const Encoded encoded = encode_one(model, request, response);
  EXPECT_EQ(
      encoded.out.json,
      R"({"model_name":"m","model_version":"1","outputs":[{"name":"C","datatype":"INT8","shape":[1],"data":[3]},)"
      R"({"name":"A","datatype":"INT8","shape":[1],"parameters":{"binary_data_size":1}}]})");
  ASSERT_EQ(encoded.out.binary.size(), 1u);
  EXPECT_EQ(encoded.out.binary[0][0], 1);
}

TEST(Encode, OutputReshapeIsUndone) {
  model::ModelSpec model = make_model("m", 8, {}, {tensor("OUT", Datatype::kInt8, {1, -1, 2})});
  model.outputs[0].reshape = std::vector<int64_t>{-1, 2, 1};
  MadeResponse response;
  response.add("OUT", 0, Datatype::kInt8, {2, 1, 2, 1}, "abcd");
  EXPECT_NE(encode_one(model, {}, response).out.json.find("\"shape\":[2,1,1,2]"),
            std::string::npos);
  model.outputs[0].dims = {1};
  model.outputs[0].reshape = std::vector<int64_t>{};
  MadeResponse scalars;
  scalars.add("OUT", 0, Datatype::kInt8, {2}, "ab");
  EXPECT_NE(encode_one(model, {}, scalars).out.json.find("\"shape\":[2,1]"), std::string::npos);
}

TEST(Encode, BytesThatAreGoneAreAnError) {
  shm::ResponseBuilder builder;
  builder.add_output("OUT", 0, Datatype::kInt8, std::vector<int64_t>{4},
                     {shm::Place::kRegion, 9, 100, 4});
  shm::ResponseView view;
  ASSERT_TRUE(view.parse(builder.finish()).ok());
  EncodedResponse out;
  const base::Status status =
      encode(any_model(Datatype::kInt8), {}, view, MadeResponse().find(), &out);
  EXPECT_EQ(status.code(), base::Code::kInternal);
}

TEST(Encode, ErrorBody) {
  EXPECT_EQ(error_body("a \"b\"\\\n\x01/"), R"({"error":"a \"b\"\\\n\u0001/"})");
}

class Classes : public ::testing::Test {
 protected:
  Encoded ask(uint32_t classes, bool binary = false) {
    request_.wishes = {{"OUT", binary, classes}};
    return encode_one(model_, request_, response_);
  }
  std::string json(uint32_t classes) {
    const Encoded encoded = ask(classes);
    if (!encoded.status.ok()) return encoded.status.message();
    const size_t begin = encoded.out.json.find("\"datatype\"");
    return encoded.out.json.substr(begin, encoded.out.json.size() - begin - 3);
  }
  model::ModelSpec model_ = make_model("m", 8, {}, {tensor("OUT", Datatype::kFp32, {3})});
  DecodedRequest request_;
  MadeResponse response_;
};

TEST_F(Classes, BestOfEachRowWithLabels) {
  model_.outputs[0].labels = {"cat", "dog", ""};
  response_.add_values<float>("OUT", 0, Datatype::kFp32, {2, 3}, {0.25f, 1, -3, 5, 7, 9});
  EXPECT_EQ(
      json(2),
      R"("datatype":"BYTES","shape":[2,2],"data":["1.000000:1:dog","0.250000:0:cat","9.000000:2","7.000000:1:dog"])");
  EXPECT_EQ(
      json(9),
      R"("datatype":"BYTES","shape":[2,3],"data":["1.000000:1:dog","0.250000:0:cat","-3.000000:2",)"
      R"("9.000000:2","7.000000:1:dog","5.000000:0:cat"])");
}

TEST_F(Classes, BinaryCarriesPrefixes) {
  model_.max_batch_size = 0;
  response_.add_values<int32_t>("OUT", 0, Datatype::kInt32, {3}, {4, 6, 5});
  const Encoded encoded = ask(1, true);
  ASSERT_EQ(encoded.out.binary.size(), 1u);
  EXPECT_EQ(std::string(encoded.out.binary[0].begin(), encoded.out.binary[0].end()),
            std::string("\3\0\0\0"
                        "6:1",
                        7));
  EXPECT_NE(encoded.out.json.find(
                R"("datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":7})"),
            std::string::npos);
}

TEST_F(Classes, TiesByIndexAndNanLast) {
  response_.add_values<double>("OUT", 0, Datatype::kFp64, {1, 4}, {NAN, 2, 3, 2});
  EXPECT_EQ(
      json(4),
      R"("datatype":"BYTES","shape":[1,4],"data":["3.000000:2","2.000000:1","2.000000:3","nan:0"])");
}

TEST_F(Classes, Refusals) {
  for (const Datatype datatype :
       {Datatype::kBool, Datatype::kFp16, Datatype::kBf16, Datatype::kBytes}) {
    MadeResponse response;
    response.add("OUT", 0, datatype, {1}, "xxxx");
    request_.wishes = {{"OUT", false, 1}};
    EXPECT_EQ(encode_one(model_, request_, response).status.message(),
              "class result not available for output due to unsupported type '" +
                  std::string(base::wire_name(datatype)) + "'");
  }
  response_.add_values<int8_t>("OUT", 0, Datatype::kInt8, {1, 1'000'001},
                               std::vector<int8_t>(1'000'001));
  EXPECT_EQ(json(1), "classification output tensor too large");
}

TEST_F(Classes, NoRows) {
  response_.add("OUT", 0, Datatype::kInt8, {0, 3}, "");
  EXPECT_EQ(json(2), R"("datatype":"BYTES","shape":[0,0],"data":[])");
}

}  // namespace
}  // namespace pyserver::protocol
