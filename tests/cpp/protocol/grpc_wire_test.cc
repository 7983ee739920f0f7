// Messages as only broken or hostile clients send them: cut short, with junk, with lengths that lie.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "protocol/grpc/message_reader.h"
#include "protocol/grpc_messages.h"

namespace pyserver::protocol::grpc {
namespace {

using base::Datatype;

constexpr char kMalformed[] = "Unable to parse request";

// A request that uses every field, for the datatype that has the most kinds of contents.
std::string rich_request() {
  const std::string input = tensor_of("IN", "BYTES", {2}) +
                            with_tensor_parameter("other", double_param(1.5)) +
                            with_contents(bytes_field(8, "one") + bytes_field(8, "two"));
  return with_model("any") + bytes_field(2, "1") + with_id("id") +
         with_parameter("text", string_param("gr\xc3\xb6\xc3\x9f"
                                             "e")) +
         with_parameter("sequence_id", int64_param(-3)) + with_input(input) +
         with_output(bytes_field(1, "OUT") + bytes_field(2, map_entry("other", uint64_param(1)))) +
         number_field(99, 300);
}

bool refused_as_malformed(const model::ModelSpec& model, const std::string& message) {
  BenchOfMessages bench;
  const base::Status status = bench.decode(model, message);
  return !status.ok() && status.code() == base::Code::kInternal && status.message() == kMalformed;
}

void expect_malformed(const std::string& message) {
  EXPECT_TRUE(refused_as_malformed(any_model(Datatype::kBytes), message));
}

TEST(GrpcWire, CutShortAtEveryLength) {
  const model::ModelSpec model = any_model(Datatype::kBytes);
  const std::string whole = rich_request();
  BenchOfMessages bench;
  ASSERT_TRUE(bench.decode(model, whole).ok());
  for (size_t length = 0; length < whole.size(); ++length) {
    // Between two fields it is a message, if one that lacks something.
    const std::string cut = whole.substr(0, length);
    RequestHead head;
    const bool between = peek(span_of(cut), &head).ok();
    EXPECT_EQ(refused_as_malformed(model, cut), !between) << length;
    EXPECT_EQ(well_formed(span_of(cut)).ok(), between) << length;
  }
  // Each inner message too, with the lengths around it right.
  const std::string input = tensor_of("IN", "BYTES", {1}) + with_contents(bytes_field(8, "one"));
  for (size_t length = 0; length < input.size(); ++length) {
    const std::string cut = with_input(input.substr(0, length));
    EXPECT_FALSE(bench.decode(model, cut).ok()) << length;
    EXPECT_EQ(well_formed(span_of(cut)).ok(), !refused_as_malformed(model, cut)) << length;
  }
  const std::string entry = map_entry("key", string_param("value"));
  for (size_t length = 0; length < entry.size(); ++length) {
    EXPECT_FALSE(bench.decode(model, bytes_field(4, entry.substr(0, length)) + whole).ok())
        << length;
  }
}

TEST(GrpcWire, JunkBehindTheMessage) {
  const model::ModelSpec model = any_model(Datatype::kBytes);
  const std::string whole = rich_request();
  for (int byte = 0; byte < 256; ++byte) {
    // One byte is at most a tag, and never a field.
    EXPECT_TRUE(refused_as_malformed(model, whole + static_cast<char>(byte))) << byte;
  }
  expect_malformed(whole + std::string(16, '\xff'));
  expect_malformed(whole + std::string(2, '\0'));
}

TEST(GrpcWire, UnknownFieldsArePassedOver) {
  const std::string input = tensor_of("IN", "BYTES", {1}) + number_field(77, 1) +
                            with_contents(bytes_field(8, "one") + fixed_field(9, 1.0));
  const std::vector<std::string> strangers = {
      number_field(8, UINT64_MAX),
      fixed_field(100, 1.5f),
      fixed_field(19500, 1.5),
      bytes_field(536870911, "junk"),
      varint(50 << 3 | 3) + varint(50 << 3 | 4),  // a group
      varint(50 << 3 | 3) + number_field(1, 2) + varint(51 << 3 | 3) + bytes_field(2, "x") +
          varint(51 << 3 | 4) + varint(50 << 3 | 4),  // one in another
  };
  for (const std::string& stranger : strangers) {
    BenchOfMessages bench;
    ASSERT_TRUE(bench
                    .decode(any_model(Datatype::kBytes),
                            stranger + with_input(stranger + input + stranger) + stranger)
                    .ok());
    EXPECT_EQ(bench.input_bytes(0), std::string("\3\0\0\0one", 7));
  }
}

TEST(GrpcWire, KnownFieldsOfTheWrongWireTypeAreUnknown) {
  const std::string input = tensor_of("IN", "BYTES", {1}) + with_contents(bytes_field(8, "one"));
  std::string strangers;
  for (uint32_t field = 1; field <= 7; ++field) {
    strangers += number_field(field, 7) + fixed_field(field, 1.5) + fixed_field(field, 1.5f);
  }
  BenchOfMessages bench;
  ASSERT_TRUE(
      bench.decode(any_model(Datatype::kBytes), strangers + with_input(input) + strangers).ok());
  EXPECT_EQ(bench.request.request_id, "");
  ASSERT_TRUE(bench
                  .decode(any_model(Datatype::kBytes),
                          with_input(number_field(1, 1) + number_field(2, 1) + fixed_field(3, 1.f) +
                                     number_field(4, 1) + number_field(5, 1) + input))
                  .ok());
  EXPECT_EQ(bench.table.shape(bench.table.inputs()[0]).size(), 1u);
}

TEST(GrpcWire, LengthsThatLie) {
  for (const uint64_t length :
       {uint64_t{5}, uint64_t{0x7fffffff}, uint64_t{0x80000000}, uint64_t{0xffffffff},
        uint64_t{1} << 32, (uint64_t{1} << 32) + 4, uint64_t{1} << 63, UINT64_MAX}) {
    const std::string lie = varint(length) + "four";
    for (uint32_t field = 1; field <= 9; ++field) expect_malformed(varint(field << 3 | 2) + lie);
    expect_malformed(with_input(varint(1 << 3 | 2) + lie));
    expect_malformed(with_input(tensor_of("IN", "BYTES", {1}) + varint(5 << 3 | 2) + lie));
    expect_malformed(
        with_input(tensor_of("IN", "BYTES", {1}) + with_contents(varint(8 << 3 | 2) + lie)));
    expect_malformed(bytes_field(4, varint(2 << 3 | 2) + lie));
    expect_malformed(bytes_field(4, bytes_field(2, varint(3 << 3 | 2) + lie)));
    expect_malformed(with_input(tensor_of("IN", "BYTES", {1}) + with_contents("")) +
                     with_output(varint(1 << 3 | 2) + lie));
  }
}

TEST(GrpcWire, TagsThatAreNone) {
  expect_malformed(std::string("\0\0", 2));
  expect_malformed(std::string("\2\0", 2));  // field 0
  expect_malformed("\x0e");                  // wire types 6 and 7
  expect_malformed("\x0f");
  expect_malformed(varint(uint64_t{1} << 35 | 8) + varint(1));  // more than 32 bits
  expect_malformed(varint(50 << 3 | 4));                        // a group's end without a start
  expect_malformed(varint(50 << 3 | 3));                        // and a start without an end
  expect_malformed(varint(50 << 3 | 3) + varint(51 << 3 | 4));
  std::string deep;
  for (int depth = 0; depth < 1000; ++depth) deep += varint(50 << 3 | 3);
  expect_malformed(deep + deep);
}

TEST(GrpcWire, VarintsThatAreTooLong) {
  const std::string eleven = std::string(10, '\x80') + '\1';
  expect_malformed(number_field(99, 0).substr(0, 2) + eleven);
  expect_malformed(eleven);
  BenchOfMessages bench;
  EXPECT_TRUE(refused_as_malformed(
      any_model(Datatype::kInt64),
      with_input(tensor_of("IN", "INT64", {1}) + with_contents(bytes_field(3, eleven)))));
  EXPECT_TRUE(refused_as_malformed(
      any_model(Datatype::kInt64),
      with_input(tensor_of("IN", "INT64", {1}) + with_contents(bytes_field(3, "\x01\x80")))));
  // Ten bytes are what a negative number takes, and longer than needed is no fault.
  ASSERT_TRUE(bench
                  .decode(any_model(Datatype::kInt64),
                          with_input(tensor_of("IN", "INT64", {2}) +
                                     with_contents(bytes_field(
                                         3, varint(UINT64_MAX) + std::string("\x81\x80\0", 3)))))
                  .ok());
  EXPECT_EQ(bench.input_bytes(0), bytes_of<int64_t>({-1, 1}));
}

TEST(GrpcWire, PackedElementsMustBeWhole) {
  EXPECT_TRUE(refused_as_malformed(
      any_model(Datatype::kFp32),
      with_input(tensor_of("IN", "FP32", {1}) + with_contents(bytes_field(6, "abcde")))));
  EXPECT_TRUE(refused_as_malformed(
      any_model(Datatype::kFp64),
      with_input(tensor_of("IN", "FP64", {1}) + with_contents(bytes_field(7, "abcd")))));
}

TEST(GrpcWire, TextsMustBeUtf8) {
  for (const std::string bad : {"\xff", "\xc3", "\xed\xa0\x80", "\xc0\x80", "\xf5\x80\x80\x80"}) {
    for (const std::string& text : {bad, std::string(100, 'x') + bad}) {
      expect_malformed(with_model(text));
      expect_malformed(bytes_field(2, text));
      expect_malformed(with_id(text));
      expect_malformed(with_parameter(text, bool_param(true)));
      expect_malformed(with_parameter("k", string_param(text)));
      expect_malformed(with_input(bytes_field(1, text)));
      expect_malformed(with_input(bytes_field(2, text)));
      expect_malformed(with_input(tensor_of("IN", "BYTES", {1}) + with_contents("")) +
                       with_output(bytes_field(1, text)));
      RequestHead head;
      const std::string message = with_id(text);
      EXPECT_FALSE(peek(span_of(message), &head).ok());
    }
  }
}

TEST(GrpcWire, PeekRefusesWhatIsNoMessage) {
  const std::string whole = rich_request();
  const std::vector<size_t> fields = {0, 5, 8, 12, 31};  // where one ends
  for (size_t length = 0; length <= 31; ++length) {
    RequestHead head;
    const bool between = std::count(fields.begin(), fields.end(), length) != 0;
    EXPECT_EQ(peek(span_of(whole.substr(0, length)), &head).ok(), between) << length;
  }
  for (const std::string bad : {"\xff",
                                "\x0a\x05"
                                "abcd",
                                "\x03"}) {
    RequestHead head;
    const base::Status status = peek(span_of(bad), &head);
    EXPECT_EQ(status.code(), base::Code::kInternal);
    EXPECT_EQ(status.message(), kMalformed);
  }
}

TEST(GrpcWire, HugeCountsTakeNoMemory) {
  const model::ModelSpec model = any_model(Datatype::kInt8);
  BenchOfMessages bench;
  // A shape of many dimensions, and more raw contents than anybody wants.
  std::string raw;
  for (int index = 0; index < 1'000'000; ++index) raw += with_raw("");
  EXPECT_TRUE(bench.decode(model, with_input(tensor_of("IN", "INT8", {0})) + raw).ok());
  std::string inputs;
  for (int index = 0; index < 1'000'000; ++index) inputs += with_input("");
  EXPECT_FALSE(bench.decode(model, inputs).ok());
  EXPECT_FALSE(bench.decode(model, with_input(bytes_field(3, std::string(1'000'000, '\1')))).ok());
}

TEST(GrpcWire, ABrokenMessageIsSeenBehindWhatIsRefusedFirst) {
  const std::string refused = with_parameter("triton_x", bool_param(true));
  ASSERT_TRUE(well_formed(span_of(refused)).ok());
  for (const std::string& broken :
       {with_input(bytes_field(2, "\xff")), with_output(bytes_field(1, "\xff")), with_id("\xff"),
        with_input(with_contents(bytes_field(2, "\x80"))),
        with_input(with_contents(bytes_field(6, "12345"))),
        with_input(with_contents(bytes_field(3, std::string(11, '\x80') + '\1'))),
        bytes_field(4, "\xff"), std::string("\x80")}) {
    EXPECT_FALSE(well_formed(span_of(refused + broken)).ok());
  }
}

TEST(GrpcWire, MoreThanThereCouldBe) {
  // A shape whose product overflows, and one that promises far more than was sent.
  BenchOfMessages bench;
  for (const int64_t dim : {INT64_MAX, int64_t{1} << 40}) {
    const std::string input = tensor_of("IN", "INT32", {dim}) + with_contents(number_field(2, 1));
    EXPECT_EQ(bench.decode(any_model(Datatype::kInt32), with_input(input)).code(),
              base::Code::kInvalidArgument);
  }
}

}  // namespace
}  // namespace pyserver::protocol::grpc
