// Where a stream of HTTP/2 frames stands: which frame the next byte belongs to. It believes nothing else; nghttp2 judges the frames.
//
//   [preface] [length 24][type 8][flags 8][R][stream 31] [payload] [length ...
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace pyserver::gateway::h2 {

class FrameCursor {
 public:
  static constexpr size_t kHeadBytes = 9;

  // `preface_bytes` come before the first frame.
  explicit FrameCursor(size_t preface_bytes = 0) : left_(preface_bytes) {}

  void advance(std::span<const uint8_t> bytes);

  // Bytes of a DATA frame without padding that are still to come; 0 anywhere else.
  size_t data_left() const { return data_ ? left_ : 0; }
  // Of that frame; between frames, of the last one.
  int32_t stream_id() const { return stream_id_; }
  // Bytes of a frame's head that are still to come; 0 within a payload.
  size_t head_left() const { return left_ > 0 ? 0 : kHeadBytes - head_size_; }

 private:
  void read_head();

  std::array<uint8_t, kHeadBytes> head_{};
  size_t head_size_ = 0;
  size_t left_;  // of the payload (or of the preface)
  bool data_ = false;
  int32_t stream_id_ = 0;
};

}  // namespace pyserver::gateway::h2
