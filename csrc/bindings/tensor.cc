// Tensors for Python: views of shared memory whose base keeps that memory readable.
#include "bindings/tensor.h"

#include <pybind11/stl.h>

#include <utility>

#include "bindings/bytes_array.h"
#include "bindings/numpy_types.h"

namespace pyserver::bindings {

namespace py = pybind11;
using base::Datatype;

namespace {

void check_name(const std::string& name) {
  if (name.empty()) throw TritonModelException("Tensor name cannot be an empty string.");
}

// A capsule that holds the request's memory, to be the base of an array over it.
py::capsule make_hold(const instance::RequestRef& request, const std::string& tensor) {
  std::unique_ptr<instance::Hold> hold = instance::Hold::take(request);
  if (hold == nullptr) {
    throw TritonModelException(
        "Tensor '" + tensor +
        "' belongs to a request that has been answered and released; use as_numpy() before "
        "the final response, the array stays valid for as long as it is kept");
  }
  py::capsule capsule(hold.get(), [](void* kept) { delete static_cast<instance::Hold*>(kept); });
  hold.release();
  return capsule;
}

// Likewise, of something that is kept by references.
template <typename T>
py::capsule keep(const std::shared_ptr<T>& kept) {
  return py::capsule(new std::shared_ptr<T>(kept), [](void* pointer) {
    delete static_cast<std::shared_ptr<T>*>(pointer);
  });
}

}  // namespace

Tensor::Tensor(std::string name, const py::array& array) : name_(std::move(name)) {
  check_name(name_);
  const std::optional<Datatype> datatype = datatype_of(array.dtype());
  if (!datatype) {
    throw TritonModelException("Tensor '" + name_ + "': Triton has no datatype for numpy's " +
                               py::str(array.dtype()).cast<std::string>());
  }
  datatype_ = *datatype;
  py::array plain = plain_array(array);
  shape_ = shape_of(plain);
  if (datatype_ == Datatype::kBytes) {
    object_array_ = std::move(plain);
    return;
  }
  bytes_ = {static_cast<const uint8_t*>(plain.data()), static_cast<size_t>(plain.nbytes())};
  array_ = std::move(plain);
}

// cppcheck-suppress passedByValue
Tensor::Tensor(std::string name, DlPacked packed)
    : name_(std::move(name)),
      datatype_(packed.datatype),
      shape_(std::move(packed.shape)),
      bytes_(packed.bytes),
      packed_(std::move(packed.owner)) {
  check_name(name_);
}

Tensor::Tensor(instance::RequestRef request, const instance::Input& input)
    : name_(input.name),
      datatype_(input.datatype),
      shape_(input.shape.begin(), input.shape.end()),
      bytes_(input.bytes),
      request_(std::move(request)) {
  if (!input.control) location_ = input.location;
}

Tensor::Tensor(instance::AnswerRef answer, const instance::AnswerOutput& output)
    : name_(output.name),
      datatype_(output.datatype),
      shape_(output.shape),
      bytes_(output.bytes),
      answer_(std::move(answer)),
      location_(output.location) {}

py::array Tensor::as_numpy() const {
  if (object_array_) return py::reinterpret_borrow<py::array>(object_array_);
  if (array_) return py::reinterpret_borrow<py::array>(array_);
  if (datatype_ == Datatype::kBf16) {
    throw TritonModelException(
        "Tensor dtype is BF16 and cannot be converted to NumPy. Use to_dlpack() and from_dlpack() "
        "instead.");
  }
  if (request_ != nullptr) {
    const py::capsule hold = make_hold(request_, name_);
    if (datatype_ == Datatype::kBytes) return decode_bytes(name_, shape_, bytes_);
    return view_array(datatype_, shape_, bytes_.data(), hold, false);
  }
  if (answer_ != nullptr) {
    if (datatype_ == Datatype::kBytes) return decode_bytes(name_, shape_, bytes_);
    return view_array(datatype_, shape_, bytes_.data(), keep(answer_), false);
  }
  return view_array(datatype_, shape_, bytes_.data(), keep(packed_), true);
}

py::capsule Tensor::to_dlpack() const {
  if (request_ == nullptr) return make_dlpack(datatype_, shape_, bytes_);
  const py::capsule hold = make_hold(request_, name_);
  return make_dlpack(datatype_, shape_, bytes_);
}

void bind_tensor(py::module_& module) {
  py::register_exception<TritonModelException>(module, "TritonModelException");
  py::class_<Tensor, std::shared_ptr<Tensor>>(
      module, "Tensor", "A named tensor: an input of a request, or an output of a response.")
      .def(py::init<std::string, const py::array&>(), py::arg("name"), py::arg("numpy_array"))
      .def("name", &Tensor::name)
      .def("shape", &Tensor::shape)
      .def("triton_dtype", [](const Tensor& tensor) { return static_cast<int>(tensor.datatype()); })
      .def("as_numpy", &Tensor::as_numpy,
           "A view where that is possible; of an input it is read-only.")
      .def("is_cpu", [](const Tensor&) { return true; })
      .def("to_dlpack", &Tensor::to_dlpack, "A DLPack capsule over a copy that may be written to.")
      .def(
          "__dlpack__",
          [](const Tensor& tensor, const py::object&, const py::kwargs&) {
            return tensor.to_dlpack();
          },
          py::arg("stream") = py::none())
      .def("__dlpack_device__", [](const Tensor&) { return py::make_tuple(kDlCpu, 0); })
      .def_static(
          "from_dlpack",
          [](std::string name, const py::object& given) {
            return Tensor(std::move(name), take_dlpack(given));
          },
          py::arg("name"), py::arg("tensor"));
}

}  // namespace pyserver::bindings
