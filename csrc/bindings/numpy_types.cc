// numpy dtypes by datatype, and arrays over shared memory.
#include "bindings/numpy_types.h"

#include <pybind11/gil_safe_call_once.h>

#include <array>

namespace pyserver::bindings {

namespace py = pybind11;

namespace {

constexpr const char* kNumpyNames[base::kMaxDatatype + 1] = {
    "",      "bool",  "uint8",   "uint16",  "uint32",  "uint64", "int8", "int16",
    "int32", "int64", "float16", "float32", "float64", "object", ""};

using Dtypes = std::array<py::dtype, base::kMaxDatatype + 1>;

const Dtypes& dtypes() {
  static py::gil_safe_call_once_and_store<Dtypes> storage;
  return storage
      .call_once_and_store_result([] {
        Dtypes made;
        for (size_t number = 1; number <= base::kMaxDatatype; ++number) {
          if (kNumpyNames[number][0] != '\0') made[number] = py::dtype(kNumpyNames[number]);
        }
        return made;
      })
      .get_stored();
}

}  // namespace

const py::dtype& numpy_dtype(base::Datatype datatype) {
  const auto number = static_cast<size_t>(datatype);
  if (number == 0 || number > base::kMaxDatatype || kNumpyNames[number][0] == '\0') {
    throw py::type_error("numpy has no dtype for " + std::string(base::wire_name(datatype)));
  }
  return dtypes()[number];
}

std::optional<base::Datatype> datatype_of(const py::dtype& dtype) {
  using base::Datatype;
  const auto size = dtype.itemsize();
  const auto sized = [&](Datatype one, Datatype two, Datatype four,
                         Datatype eight) -> std::optional<Datatype> {
    return size == 1   ? one
           : size == 2 ? two
           : size == 4 ? four
           : size == 8 ? std::optional(eight)
                       : std::nullopt;
  };
  switch (dtype.kind()) {
    case 'b':
      return Datatype::kBool;
    case 'i':
      return sized(Datatype::kInt8, Datatype::kInt16, Datatype::kInt32, Datatype::kInt64);
    case 'u':
      return sized(Datatype::kUint8, Datatype::kUint16, Datatype::kUint32, Datatype::kUint64);
    case 'f':
      if (size == 1 || size > 8) return std::nullopt;
      return sized(Datatype::kInvalid, Datatype::kFp16, Datatype::kFp32, Datatype::kFp64);
    case 'O':
    case 'S':
    case 'U':
      return Datatype::kBytes;
    default:
      return std::nullopt;
  }
}

py::array view_array(base::Datatype datatype, std::span<const int64_t> shape, const void* data,
                     py::handle base, bool writable) {
  py::array array(numpy_dtype(datatype), std::vector<py::ssize_t>(shape.begin(), shape.end()), {},
                  data, base);
  if (!writable) {
    py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  }
  return array;
}

py::array plain_array(const py::array& array) {
  const py::dtype dtype = array.dtype();
  if (dtype.kind() == 'S' || dtype.kind() == 'U') {
    return py::array(array.attr("astype")(numpy_dtype(base::Datatype::kBytes)));
  }
  if (dtype.byteorder() == '>')
    return py::array(array.attr("astype")(dtype.attr("newbyteorder")("=")));
  if ((array.flags() & py::array::c_style) != 0) return array;
  return py::array::ensure(array, py::array::c_style);
}

std::vector<int64_t> shape_of(const py::array& array) {
  return {array.shape(), array.shape() + array.ndim()};
}

}  // namespace pyserver::bindings
