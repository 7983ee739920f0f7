// What Python says of a model, as the engine wants it.
#pragma once

#include <pybind11/pybind11.h>

#include "engine/books.h"

namespace pyserver::bindings {

// Throws what pybind11 throws for a value of the wrong type, or a key that is missing.
engine::ModelSettings settings_from(const pybind11::dict& given);

}  // namespace pyserver::bindings
