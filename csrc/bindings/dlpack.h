// DLPack's structures, as far as we speak it (the unversioned capsule "dltensor"), and both
// directions of it.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/datatype.h"

namespace pyserver::bindings {

inline constexpr int32_t kDlCpu = 1;

struct DlDevice {
  int32_t device_type;
  int32_t device_id;
};

struct DlDataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};

struct DlTensor {
  void* data;
  DlDevice device;
  int32_t ndim;
  DlDataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; nullptr: C order
  uint64_t byte_offset;
};

struct DlManagedTensor {
  DlTensor tensor;
  void* context;
  void (*deleter)(DlManagedTensor* self);
};
static_assert(sizeof(DlTensor) == 48 && sizeof(DlManagedTensor) == 64);

// A capsule over a writable copy of the bytes. A copy, because the unversioned protocol cannot say
// "read-only", and a consumer that writes into another process's region would be killed for it.
pybind11::capsule make_dlpack(base::Datatype datatype, std::span<const int64_t> shape,
                              std::span<const uint8_t> bytes);

// What came in a capsule, or in an object with __dlpack__: kept alive by the pointer.
struct DlPacked {
  std::shared_ptr<DlManagedTensor> owner;
  base::Datatype datatype = base::Datatype::kInvalid;
  std::vector<int64_t> shape;
  std::span<const uint8_t> bytes;
};
DlPacked take_dlpack(const pybind11::object& given);

}  // namespace pyserver::bindings
