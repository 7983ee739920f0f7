// Walking the fields of a protobuf message that a stranger sent.
//
// Built on protozero's varints. Its pbf_reader is not used, because it is laxer than Google's parser (it cuts lengths and tags to 32
// bits), stricter in other places (it refuses groups), and says no by throwing. Here each value is read with its field, so that nothing
// can be forgotten to be skipped, and a message that is none ends the walk.
#pragma once

#include <protozero/exception.hpp>
#include <protozero/types.hpp>
#include <protozero/varint.hpp>

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace pyserver::protocol::grpc {

using WireType = protozero::pbf_wire_type;

static_assert(std::endian::native == std::endian::little, "fixed-size fields are read as they lie");

// False when the bytes up to `end` are no varint; `*at` is then as it was.
inline bool read_varint(const char** at, const char* end, uint64_t* value) {
  if (*at != end && static_cast<uint8_t>(**at) < 0x80) {
    *value = static_cast<uint8_t>(*(*at)++);
    return true;
  }
  try {
    *value = protozero::decode_varint(at, end);
    return true;
  } catch (const protozero::exception&) {
    return false;
  }
}

class MessageReader {
 public:
  static constexpr int kMaxGroups = 100;  // open at once
  static constexpr uint64_t kMaxLength = INT32_MAX;

  explicit MessageReader(std::string_view message)
      : at_(message.data()), end_(message.data() + message.size()) {}

  // Moves to the next field; false behind the last one and when the rest is malformed. Groups, which proto3 does not have, are
  // passed over.
  bool next() {
    while (at_ != end_) {
      if (!read_tag() || !read_value()) return fail();
      if (type_ != kStartGroup) return true;
      if (!skip_group()) return fail();
    }
    return false;
  }

  // To be asked after next() has said no.
  bool complete() const { return !failed_; }

  bool is(uint32_t field, WireType type) const { return field_ == field && type_ == type; }
  uint32_t field() const { return field_; }
  WireType type() const { return type_; }
  // The value: of a varint or a fixed-size field its bits, of a length-delimited one its bytes.
  uint64_t bits() const { return bits_; }
  std::string_view bytes() const { return bytes_; }

 private:
  static constexpr auto kStartGroup = static_cast<WireType>(3);
  static constexpr auto kEndGroup = static_cast<WireType>(4);

  bool fail() {
    at_ = end_;
    failed_ = true;
    return false;
  }

  bool read_tag() {
    uint64_t tag = 0;
    if (!read_varint(&at_, end_, &tag) || tag > UINT32_MAX) return false;
    field_ = static_cast<uint32_t>(tag) >> 3;
    type_ = static_cast<WireType>(tag & 7);
    return field_ != 0;
  }

  template <typename T>
  bool read_fixed() {
    if (end_ - at_ < static_cast<ptrdiff_t>(sizeof(T))) return false;
    T value;
    std::memcpy(&value, at_, sizeof value);
    bits_ = value;
    at_ += sizeof value;
    return true;
  }

  bool read_value() {
    switch (type_) {
      case WireType::varint:
        return read_varint(&at_, end_, &bits_);
      case WireType::fixed64:
        return read_fixed<uint64_t>();
      case WireType::fixed32:
        return read_fixed<uint32_t>();
      case WireType::length_delimited: {
        uint64_t length = 0;
        if (!read_varint(&at_, end_, &length) || length > kMaxLength) return false;
        if (length > static_cast<uint64_t>(end_ - at_)) return false;
        bytes_ = {at_, length};
        at_ += length;
        return true;
      }
      default:
        return type_ == kStartGroup;
    }
  }

  // Up to the end that belongs to the start just read.
  bool skip_group() {
    uint32_t open[kMaxGroups];
    int depth = 0;
    open[depth++] = field_;
    while (depth > 0) {
      if (at_ == end_ || !read_tag()) return false;
      if (type_ == kEndGroup) {
        if (open[--depth] != field_) return false;
      } else if (!read_value()) {
        return false;
      } else if (type_ == kStartGroup) {
        if (depth == kMaxGroups) return false;
        open[depth++] = field_;
      }
    }
    return true;
  }

  const char* at_;
  const char* end_;
  uint32_t field_ = 0;
  WireType type_ = WireType::unknown;
  bool failed_ = false;
  uint64_t bits_ = 0;
  std::string_view bytes_;
};

}  // namespace pyserver::protocol::grpc
