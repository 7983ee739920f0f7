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

constexpr const char* kPlaceCapsule = "pyserver.place";

// The base of an array over shared memory: keeps that readable, and knows where it is.
struct Place {
  instance::RequestRef request;
  std::unique_ptr<instance::Hold> hold;
  instance::AnswerRef answer;
  std::span<const uint8_t> bytes;
  std::optional<shm::Location> location;
};

std::unique_ptr<instance::Hold> take_hold(const instance::RequestRef& request,
                                          const std::string& tensor) {
  std::unique_ptr<instance::Hold> hold = instance::Hold::take(request);
  if (hold == nullptr) {
    throw TritonModelException(
        "Tensor '" + tensor +
        "' belongs to a request that has been answered and released; use as_numpy() before "
        "the final response, the array stays valid for as long as it is kept");
  }
  return hold;
}

py::capsule make_capsule(std::unique_ptr<Place> place) {
  py::capsule capsule(place.get(), kPlaceCapsule,
                      [](void* kept) { delete static_cast<Place*>(kept); });
  place.release();
  return capsule;
}

// Triton's API makes tensors without saying for which instance. Guarded by the GIL.
std::weak_ptr<instance::Memory>& tensor_memory() {
  static std::weak_ptr<instance::Memory> memory;
  return memory;
}

// numpy's flag, on the object that we hand out; views that were made of it keep their own.
void set_read_only(const py::array& array) {
  py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
}

const Place* place_behind(const py::array& array) {
  py::object base = array.base();
  while (base && py::isinstance<py::array>(base))
    base = py::reinterpret_borrow<py::array>(base).base();
  if (!base || !PyCapsule_IsValid(base.ptr(), kPlaceCapsule)) return nullptr;
  return static_cast<const Place*>(PyCapsule_GetPointer(base.ptr(), kPlaceCapsule));
}

}  // namespace

void make_tensors_in(const std::shared_ptr<instance::Memory>& memory) { tensor_memory() = memory; }

Tensor Tensor::empty(std::string name, const py::dtype& dtype, std::vector<int64_t> shape) {
  const std::optional<Datatype> datatype = datatype_of(dtype);
  const std::optional<uint64_t> count = instance::element_count(shape);
  if (!datatype || *datatype == Datatype::kBytes || dtype.byteorder() == '>') {
    throw TritonModelException("Tensor '" + name + "': there is no empty tensor of numpy's " +
                               py::str(dtype).cast<std::string>() +
                               ": elements of a fixed size in this machine's byte order only");
  }
  const uint64_t element_bytes = base::element_byte_size(*datatype);
  if (!count || *count > ~uint64_t{0} / element_bytes)
    throw TritonModelException("Tensor '" + name + "': its shape has no size");
  const std::shared_ptr<instance::Memory> memory = tensor_memory().lock();
  if (memory == nullptr) {
    const std::vector<py::ssize_t> plain(shape.begin(), shape.end());
    return {std::move(name), py::array(dtype, plain)};
  }
  const uint64_t byte_size = *count * element_bytes;
  instance::BufferRef buffer = memory->make_buffer(byte_size);
  if (buffer == nullptr) {
    throw TritonModelException("Tensor '" + name + "' of " + std::to_string(byte_size) +
                               " bytes does not fit into what is left of " +
                               std::to_string(memory->budget_bytes()) + " bytes of shared memory");
  }
  const auto* kept = new instance::BufferRef(buffer);
  const py::capsule owner(kept,
                          [](void* pointer) { delete static_cast<instance::BufferRef*>(pointer); });
  Tensor made(std::move(name), view_array(*datatype, shape, buffer->data(), owner, true));
  made.buffer_ = std::move(buffer);
  return made;
}

void Tensor::seal() const {
  if (array_) set_read_only(py::reinterpret_borrow<py::array>(array_));
}

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
  find_place(plain);
  array_ = std::move(plain);
}

void Tensor::find_place(const py::array& array) {
  const Place* const place = place_behind(array);
  if (place == nullptr || !place->location || bytes_.empty()) return;
  const auto begin = reinterpret_cast<uintptr_t>(place->bytes.data());
  const auto address = reinterpret_cast<uintptr_t>(bytes_.data());
  if (address < begin || address - begin > place->bytes.size() ||
      bytes_.size() > place->bytes.size() - (address - begin)) {
    return;
  }
  request_ = place->request;
  answer_ = place->answer;
  location_ = place->location;
  location_->offset += address - begin;
  location_->byte_size = bytes_.size();
}

// cppcheck-suppress passedByValue
Tensor::Tensor(std::string name, const Tensor& other) : Tensor(other) {
  check_name(name);
  name_ = std::move(name);
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
  if (request_ == nullptr && answer_ == nullptr) {
    const py::capsule owner(new std::shared_ptr<DlManagedTensor>(packed_), [](void* pointer) {
      delete static_cast<std::shared_ptr<DlManagedTensor>*>(pointer);
    });
    return view_array(datatype_, shape_, bytes_.data(), owner, true);
  }
  auto place = std::make_unique<Place>();
  place->request = request_;
  place->answer = answer_;
  place->bytes = bytes_;
  place->location = location_;
  if (request_ != nullptr) place->hold = take_hold(request_, name_);
  if (datatype_ == Datatype::kBytes) return decode_bytes(name_, shape_, bytes_);
  return view_array(datatype_, shape_, bytes_.data(), make_capsule(std::move(place)), false);
}

py::capsule Tensor::to_dlpack() const {
  std::unique_ptr<instance::Hold> hold;
  if (request_ != nullptr) hold = take_hold(request_, name_);
  return make_dlpack(datatype_, shape_, bytes_);
}

void bind_tensor(py::module_& module) {
  py::register_exception<TritonModelException>(module, "TritonModelException");
  py::class_<Tensor, std::shared_ptr<Tensor>>(
      module, "Tensor", "A named tensor: an input of a request, or an output of a response.")
      .def(py::init<std::string, const py::array&>(), py::arg("name"), py::arg("numpy_array"))
      .def_static(
          "empty",
          [](std::string name, const py::object& dtype, std::vector<int64_t> shape) {
            return Tensor::empty(std::move(name), py::dtype::from_args(dtype), std::move(shape));
          },
          py::arg("name"), py::arg("dtype"), py::arg("shape"),
          "An output whose array (as_numpy()) lies where the response will name it: what is "
          "written there is not copied. Read-only once it is sent. Not of Triton's API.")
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
            if (py::isinstance<Tensor>(given))
              return Tensor(std::move(name), given.cast<const Tensor&>());
            return Tensor(std::move(name), take_dlpack(given));
          },
          py::arg("name"), py::arg("tensor"));
}

}  // namespace pyserver::bindings
