// Making DLPack capsules and taking them apart.
#include "bindings/dlpack.h"

#include <cstring>
#include <optional>
#include <utility>

#include "bindings/tensor.h"
#include "instance/request.h"

namespace pyserver::bindings {

namespace py = pybind11;
using base::Datatype;

namespace {

constexpr const char* kFresh = "dltensor";
constexpr const char* kUsed = "used_dltensor";

enum Code : uint8_t { kInt = 0, kUint = 1, kFloat = 2, kBfloat = 4, kBool = 6 };

struct Row {
  Datatype datatype;
  Code code;
  uint8_t bits;
};

constexpr Row kRows[] = {
    {Datatype::kBool, kBool, 8},    {Datatype::kUint8, kUint, 8},   {Datatype::kUint16, kUint, 16},
    {Datatype::kUint32, kUint, 32}, {Datatype::kUint64, kUint, 64}, {Datatype::kInt8, kInt, 8},
    {Datatype::kInt16, kInt, 16},   {Datatype::kInt32, kInt, 32},   {Datatype::kInt64, kInt, 64},
    {Datatype::kFp16, kFloat, 16},  {Datatype::kFp32, kFloat, 32},  {Datatype::kFp64, kFloat, 64},
    {Datatype::kBf16, kBfloat, 16},
};

struct Exported {
  DlManagedTensor managed;
  std::vector<int64_t> shape;
  std::unique_ptr<uint8_t[]> bytes;
};

void destroy_unused(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, kFresh)) return;  // somebody took it
  auto* managed = static_cast<DlManagedTensor*>(PyCapsule_GetPointer(capsule, kFresh));
  if (managed->deleter != nullptr) managed->deleter(managed);
}

bool contiguous(const DlTensor& tensor) {
  if (tensor.strides == nullptr) return true;
  int64_t expected = 1;
  for (int32_t axis = tensor.ndim - 1; axis >= 0; --axis) {
    if (tensor.shape[axis] == 0) return true;
    if (tensor.shape[axis] != 1 && tensor.strides[axis] != expected) return false;
    expected *= tensor.shape[axis];
  }
  return true;
}

}  // namespace

py::capsule make_dlpack(Datatype datatype, std::span<const int64_t> shape,
                        std::span<const uint8_t> bytes) {
  const Row* found = nullptr;
  for (const Row& row : kRows) {
    if (row.datatype == datatype) found = &row;
  }
  if (found == nullptr)
    throw TritonModelException("DLPack does not have support for string tensors.");
  auto exported = std::make_unique<Exported>();
  exported->shape.assign(shape.begin(), shape.end());
  exported->bytes = std::make_unique_for_overwrite<uint8_t[]>(bytes.size() + 1);
  if (!bytes.empty()) std::memcpy(exported->bytes.get(), bytes.data(), bytes.size());
  DlManagedTensor& managed = exported->managed;
  managed.tensor = DlTensor{exported->bytes.get(),
                            {kDlCpu, 0},
                            static_cast<int32_t>(shape.size()),
                            {found->code, found->bits, 1},
                            exported->shape.data(),
                            nullptr,
                            0};
  managed.context = exported.get();
  managed.deleter = [](DlManagedTensor* self) { delete static_cast<Exported*>(self->context); };
  PyObject* capsule = PyCapsule_New(&managed, kFresh, &destroy_unused);
  if (capsule == nullptr) throw py::error_already_set();
  exported.release();  // the capsule's destructor deletes it
  return py::reinterpret_steal<py::capsule>(capsule);
}

DlPacked take_dlpack(const py::object& given) {
  py::object capsule = given;
  if (!PyCapsule_CheckExact(given.ptr())) {
    if (!py::hasattr(given, "__dlpack__")) {
      throw TritonModelException(
          "Provided tensor is not supported. Tensor must be a DLPack capsule         or have "
          "`__dlpack__` and `__dlpack_device__` attributes");
    }
    capsule = given.attr("__dlpack__")();
  }
  if (!PyCapsule_IsValid(capsule.ptr(), kFresh)) {
    throw TritonModelException("the DLPack capsule was used before, or is none");
  }
  auto* managed = static_cast<DlManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), kFresh));
  PyCapsule_SetName(capsule.ptr(), kUsed);
  DlPacked taken;
  taken.owner = std::shared_ptr<DlManagedTensor>(managed, [](DlManagedTensor* tensor) {
    if (tensor->deleter != nullptr) tensor->deleter(tensor);
  });
  const DlTensor& tensor = managed->tensor;
  if (tensor.device.device_type != kDlCpu) {
    throw TritonModelException("DLPack tensors must lie in CPU memory here");
  }
  if (!contiguous(tensor)) {
    throw TritonModelException(
        "DLPack tensor is not contiguous. Only contiguous DLPack tensors that are stored in "
        "C-Order are "
        "supported.");
  }
  for (const Row& row : kRows) {
    if (row.code == tensor.dtype.code && row.bits == tensor.dtype.bits)
      taken.datatype = row.datatype;
  }
  taken.shape.assign(tensor.shape, tensor.shape + tensor.ndim);
  const std::optional<uint64_t> count = instance::element_count(taken.shape);
  if (taken.datatype == Datatype::kInvalid || tensor.dtype.lanes != 1 || !count) {
    throw TritonModelException("the DLPack tensor's datatype has no counterpart in Triton");
  }
  const auto* data = static_cast<const uint8_t*>(tensor.data) + tensor.byte_offset;
  taken.bytes = {data, *count * base::element_byte_size(taken.datatype)};
  return taken;
}

}  // namespace pyserver::bindings
