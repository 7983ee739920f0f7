// BYTES tensors between the wire (each element a little-endian u32 length and its bytes) and numpy
// object arrays.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace pyserver::bindings {

// An object array of `bytes`. Throws TritonModelException when the lengths do not add up to the
// shape; `name` is for that text.
pybind11::array decode_bytes(std::string_view name, std::span<const int64_t> shape,
                             std::span<const uint8_t> wire);

// An object array ready to be written: where each element's bytes are. Elements that are not bytes
// are taken as text, as Triton's serialize_byte_tensor does.
class BytesElements {
 public:
  explicit BytesElements(const pybind11::array& array);
  uint64_t wire_bytes() const { return wire_bytes_; }
  size_t size() const { return elements_.size(); }
  // Writes wire_bytes() bytes. `row_offsets`, if given, receives where every `per_row`-th element
  // begins, and the end.
  void write(uint8_t* target, size_t per_row = 0,
             std::vector<uint64_t>* row_offsets = nullptr) const;

 private:
  pybind11::array array_;
  std::vector<std::string_view> elements_;
  std::vector<pybind11::object> converted_;  // keeps the bytes of elements that were not bytes
  uint64_t wire_bytes_ = 0;
};

}  // namespace pyserver::bindings
