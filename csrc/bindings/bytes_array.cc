// Decoding and encoding BYTES with bounds checked at every element.
#include "bindings/bytes_array.h"

#include <cstring>
#include <limits>
#include <string>

#include "bindings/numpy_types.h"
#include "bindings/tensor.h"
#include "instance/request.h"

namespace pyserver::bindings {

namespace py = pybind11;

namespace {

constexpr uint64_t kPrefixBytes = sizeof(uint32_t);

[[noreturn]] void refuse(std::string_view name, const std::string& why) {
  throw TritonModelException("BYTES tensor '" + std::string(name) + "' " + why);
}

}  // namespace

py::array decode_bytes(std::string_view name, std::span<const int64_t> shape,
                       std::span<const uint8_t> wire) {
  const uint64_t count =
      instance::element_count(shape).value_or(std::numeric_limits<uint64_t>::max());
  // Checked before anything is allocated: each element takes at least its prefix.
  if (count > wire.size() / kPrefixBytes) refuse(name, "has fewer elements than its shape says");
  py::array array(numpy_dtype(base::Datatype::kBytes),
                  std::vector<py::ssize_t>(shape.begin(), shape.end()));
  auto** elements = static_cast<PyObject**>(array.mutable_data());
  uint64_t at = 0;
  for (uint64_t index = 0; index < count; ++index) {
    uint32_t length = 0;
    if (wire.size() - at < kPrefixBytes) refuse(name, "has fewer elements than its shape says");
    std::memcpy(&length, wire.data() + at, kPrefixBytes);
    at += kPrefixBytes;
    if (length > wire.size() - at) refuse(name, "ends within an element");
    PyObject* element =
        PyBytes_FromStringAndSize(reinterpret_cast<const char*>(wire.data() + at), length);
    if (element == nullptr) throw py::error_already_set();
    Py_XDECREF(elements[index]);
    elements[index] = element;
    at += length;
  }
  if (at != wire.size()) refuse(name, "has more elements than its shape says");
  return array;
}

BytesElements::BytesElements(const py::array& array) : array_(array) {
  const auto count = static_cast<size_t>(array.size());
  auto* const* elements = static_cast<PyObject* const*>(array.data());
  elements_.reserve(count);
  for (size_t index = 0; index < count; ++index) {
    PyObject* element = elements[index] != nullptr ? elements[index] : Py_None;
    if (!PyBytes_Check(element)) {
      const py::object text = py::reinterpret_steal<py::object>(PyObject_Str(element));
      if (!text) throw py::error_already_set();
      py::object bytes = py::reinterpret_steal<py::object>(PyUnicode_AsUTF8String(text.ptr()));
      if (!bytes) throw py::error_already_set();
      element = bytes.ptr();
      converted_.push_back(std::move(bytes));
    }
    const auto length = static_cast<size_t>(PyBytes_GET_SIZE(element));
    if (length > std::numeric_limits<uint32_t>::max()) {
      throw TritonModelException("an element of a BYTES tensor is longer than 4 GiB");
    }
    elements_.emplace_back(PyBytes_AS_STRING(element), length);
    wire_bytes_ += kPrefixBytes + length;
  }
}

void BytesElements::write(uint8_t* target, size_t per_row,
                          std::vector<uint64_t>* row_offsets) const {
  uint64_t at = 0;
  for (size_t index = 0; index < elements_.size(); ++index) {
    if (row_offsets != nullptr && per_row > 0 && index % per_row == 0) row_offsets->push_back(at);
    const auto length = static_cast<uint32_t>(elements_[index].size());
    std::memcpy(target + at, &length, kPrefixBytes);
    if (length > 0) std::memcpy(target + at + kPrefixBytes, elements_[index].data(), length);
    at += kPrefixBytes + length;
  }
  if (row_offsets != nullptr) row_offsets->push_back(at);
}

}  // namespace pyserver::bindings
