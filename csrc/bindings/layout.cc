// Constants of the shared memory layout, for Python; and how a Status becomes an exception.
#include <pybind11/stl.h>

#include "base/datatype.h"
#include "bindings/bindings.h"
#include "bindings/fingerprint.h"
#include "shm/layout.h"

namespace pyserver::bindings {

namespace py = pybind11;

void raise_if_error(const base::Status& status) {
  if (status.ok()) return;
  const py::object error =
      py::module_::import("pyserver.errors")
          .attr("make_error")(static_cast<int>(status.code()), status.message());
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw py::error_already_set();
}

void bind_layout(py::module_& module) {
  module.attr("LAYOUT_VERSION") = shm::kLayoutVersion;
  module.attr("SOURCE_FINGERPRINT") = kSourceFingerprint;
  module.attr("RING_CAPACITY") = shm::kRingCapacity;
  module.attr("RECORD_BYTES") = shm::kRecordBytes;
  module.attr("CORE_PEER") = shm::kCorePeer;
  py::list rows;
  for (uint8_t number = 0; number <= base::kMaxDatatype; ++number) {
    rows.append(py::make_tuple(number, std::string(base::kDatatypes[number].wire),
                               base::kDatatypes[number].byte_size));
  }
  module.attr("DATATYPES") = py::tuple(rows);
}

}  // namespace pyserver::bindings
