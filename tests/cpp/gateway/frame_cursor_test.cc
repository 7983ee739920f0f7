// Where frames begin and end, however the bytes are cut.
#include "gateway/h2/frame_cursor.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pyserver::gateway::h2 {
namespace {

std::string frame(uint8_t type, uint8_t flags, uint32_t stream, size_t size) {
  std::string made = {static_cast<char>(size >> 16),   static_cast<char>(size >> 8),
                      static_cast<char>(size),         static_cast<char>(type),
                      static_cast<char>(flags),        static_cast<char>(stream >> 24),
                      static_cast<char>(stream >> 16), static_cast<char>(stream >> 8),
                      static_cast<char>(stream)};
  return made + std::string(size, 'x');
}

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// After the preface: HEADERS, DATA of 300 bytes on stream 5, DATA with padding, an empty DATA, PING, DATA of 7 bytes on stream 2^31-1.
const std::string kAll = std::string(24, 'P') + frame(1, 4, 5, 20) + frame(0, 0, 5, 300) +
                         frame(0, 8, 5, 50) + frame(0, 1, 5, 0) + frame(6, 0, 0, 8) +
                         frame(0, 0, 0xffffffff, 7);
constexpr size_t kFirstData = 24 + 29 + 9;
constexpr size_t kLastData = kFirstData + 300 + 59 + 9 + 17 + 9;

size_t expected_left(size_t at) {
  if (at >= kFirstData && at < kFirstData + 300) return kFirstData + 300 - at;
  if (at >= kLastData && at < kLastData + 7) return kLastData + 7 - at;
  return 0;
}

TEST(FrameCursor, every_cut_in_two_gives_the_same_places) {
  ASSERT_EQ(kAll.size(), kLastData + 7);
  for (size_t cut = 0; cut <= kAll.size(); ++cut) {
    FrameCursor cursor(24);
    cursor.advance(bytes_of(kAll).first(cut));
    EXPECT_EQ(cursor.data_left(), expected_left(cut)) << cut;
    if (cut >= 24 && cut < 24 + 9) {
      EXPECT_EQ(cursor.head_left(), 24 + 9 - cut);
    }
    cursor.advance(bytes_of(kAll).subspan(cut));
    EXPECT_EQ(cursor.data_left(), 0u);
    EXPECT_EQ(cursor.stream_id(), 0x7fffffff);
  }
}

TEST(FrameCursor, byte_by_byte) {
  FrameCursor cursor(24);
  for (size_t at = 0; at < kAll.size(); ++at) {
    EXPECT_EQ(cursor.data_left(), expected_left(at)) << at;
    if (expected_left(at) > 0) {
      EXPECT_EQ(cursor.stream_id(), at < kLastData ? 5 : 0x7fffffff);
    }
    cursor.advance(bytes_of(kAll).subspan(at, 1));
  }
}

}  // namespace
}  // namespace pyserver::gateway::h2
