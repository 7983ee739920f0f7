// What goes into gRPC's headers and trailers.
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "protocol/grpc/framing.h"
#include "protocol/grpc/status.h"

namespace pyserver::protocol::grpc {
namespace {

TEST(GrpcStatus, EveryCodeHasItsNumber) {
  const std::vector<std::pair<base::Code, int>> table = {
      {base::Code::kUnknown, 2},       {base::Code::kInternal, 13},
      {base::Code::kNotFound, 5},      {base::Code::kInvalidArgument, 3},
      {base::Code::kUnavailable, 14},  {base::Code::kUnsupported, 12},
      {base::Code::kAlreadyExists, 6}, {base::Code::kCancelled, 1},
  };
  ASSERT_EQ(table.size(), base::kMaxCode + 1u);
  for (const auto& [code, number] : table) {
    EXPECT_EQ(static_cast<int>(status_code(code)), number);
  }
}

TEST(GrpcStatus, MessagesArePercentEncoded) {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"", ""},
      {"plain text ~ !\"'", "plain text ~ !\"'"},
      {"100%", "100%25"},
      {"a\nb\tc", "a%0Ab%09c"},
      {std::string("\0\x7f", 2), "%00%7F"},
      {"gr\xc3\xb6\xc3\x9f"
       "er",
       "gr%C3%B6%C3%9Fer"},
      {"\xff\xfe", "%FF%FE"},
      // HTTP/2 has no fields that begin or end with a blank.
      {"got: ", "got:%20"},
      {" a b ", "%20a b%20"},
      {" ", "%20"},
  };
  for (const auto& [message, encoded] : table) EXPECT_EQ(percent_encode(message), encoded);
}

TEST(GrpcStatus, LongMessagesAreCutBehindAWholeCharacter) {
  EXPECT_EQ(percent_encode("abcdef", 6), "abcdef");
  EXPECT_EQ(percent_encode("abcdefg", 6), "abc...");
  EXPECT_EQ(percent_encode("ab\xc3\xb6"
                           "cdef",
                           8),
            "ab...");
  EXPECT_EQ(percent_encode("ab\xc3\xb6"
                           "cdef",
                           11),
            "ab%C3%B6...");
  EXPECT_EQ(percent_encode("abcdef", 2), "..");
  EXPECT_EQ(percent_encode("a", 0), "");
  for (size_t length = kMaxStatusMessageBytes - 4; length < kMaxStatusMessageBytes + 4; ++length) {
    const std::string encoded = percent_encode(std::string(length, 'x'));
    EXPECT_EQ(encoded.size(), std::min(length, kMaxStatusMessageBytes));
    EXPECT_EQ(encoded.ends_with("..."), length > kMaxStatusMessageBytes);
  }
}

TEST(GrpcStatus, TimeoutsInEveryUnit) {
  const std::vector<std::pair<std::string, std::optional<uint64_t>>> table = {
      {"1n", 1},
      {"25u", 25'000},
      {"100m", 100'000'000},
      {"3S", 3'000'000'000},
      {"2M", 120'000'000'000},
      {"1H", 3'600'000'000'000},
      {"0S", 0},
      {"00000007n", 7},
      {"99999999n", 99'999'999},
      {"99999999S", 99'999'999'000'000'000},
      {"99999999M", 5'999'999'940'000'000'000},
      {"99999999H", INT64_MAX},
      {"", std::nullopt},
      {"S", std::nullopt},
      {"1", std::nullopt},
      {"123456789S", std::nullopt},
      {"1s", std::nullopt},
      {"1h", std::nullopt},
      {"-1S", std::nullopt},
      {"+1S", std::nullopt},
      {"1.5S", std::nullopt},
      {" 1S", std::nullopt},
      {"1S ", std::nullopt},
      {"1 S", std::nullopt},
  };
  for (const auto& [text, ns] : table) EXPECT_EQ(parse_timeout_ns(text), ns) << text;
}

TEST(GrpcFraming, PrefixesThereAndBack) {
  for (const bool compressed : {false, true}) {
    for (const uint32_t byte_size : {0u, 1u, 255u, 256u, 0x01020304u, 0x7fffffffu, UINT32_MAX}) {
      const std::array<uint8_t, kPrefixBytes> bytes = make_prefix({compressed, byte_size});
      const std::optional<MessagePrefix> prefix = parse_prefix(bytes);
      ASSERT_TRUE(prefix);
      EXPECT_EQ(prefix->compressed, compressed);
      EXPECT_EQ(prefix->byte_size, byte_size);
    }
  }
  EXPECT_EQ(make_prefix({true, 0x01020304}), (std::array<uint8_t, 5>{1, 1, 2, 3, 4}));
  for (const uint8_t first : {uint8_t{2}, uint8_t{128}, uint8_t{255}}) {
    const std::array<uint8_t, kPrefixBytes> bytes = {first, 0, 0, 0, 0};
    EXPECT_FALSE(parse_prefix(bytes));
  }
}

}  // namespace
}  // namespace pyserver::protocol::grpc
