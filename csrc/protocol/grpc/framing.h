// The five bytes that gRPC puts before each message.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

namespace pyserver::protocol::grpc {

inline constexpr size_t kPrefixBytes = 5;

struct MessagePrefix {
  bool compressed = false;
  uint32_t byte_size = 0;
};

// Nothing when the first byte is neither 0 nor 1.
constexpr std::optional<MessagePrefix> parse_prefix(std::span<const uint8_t, kPrefixBytes> bytes) {
  if (bytes[0] > 1) return std::nullopt;
  const uint32_t byte_size = uint32_t{bytes[1]} << 24 | uint32_t{bytes[2]} << 16 |
                             uint32_t{bytes[3]} << 8 | uint32_t{bytes[4]};
  return MessagePrefix{bytes[0] == 1, byte_size};
}

constexpr std::array<uint8_t, kPrefixBytes> make_prefix(MessagePrefix prefix) {
  return {static_cast<uint8_t>(prefix.compressed ? 1 : 0),
          static_cast<uint8_t>(prefix.byte_size >> 24),
          static_cast<uint8_t>(prefix.byte_size >> 16), static_cast<uint8_t>(prefix.byte_size >> 8),
          static_cast<uint8_t>(prefix.byte_size)};
}

}  // namespace pyserver::protocol::grpc
