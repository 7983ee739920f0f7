// What the files of this folder share: one function per role, and Status as Python exceptions.
#pragma once

#include <pybind11/pybind11.h>

#include "base/status.h"

namespace pyserver::bindings {

void bind_layout(pybind11::module_& module);
void bind_engine(pybind11::module_& module);
void bind_warm_up(pybind11::module_& module);
void bind_gateway(pybind11::module_& module);
void bind_endpoints(pybind11::module_& module);
void bind_instance(pybind11::module_& module);

// Raises the exception of pyserver.errors that belongs to the code; returns when the status is fine.
void raise_if_error(const base::Status& status);

}  // namespace pyserver::bindings
