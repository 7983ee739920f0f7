// Which numpy dtype stands for which datatype. The dtype objects are made once.
#pragma once

#include <pybind11/numpy.h>

#include <optional>
#include <span>
#include <vector>

#include "base/datatype.h"

namespace pyserver::bindings {

// numpy's dtype of a datatype: object for BYTES. Throws for BF16, which numpy does not have.
const pybind11::dtype& numpy_dtype(base::Datatype datatype);

// The datatype of an array's elements; nothing for complex numbers, dates and the like. Text ('S'
// and 'U') counts as BYTES.
std::optional<base::Datatype> datatype_of(const pybind11::dtype& dtype);

// An array over foreign memory, read-only unless `writable`; `base` keeps that memory alive.
pybind11::array view_array(base::Datatype datatype, std::span<const int64_t> shape,
                           const void* data, pybind11::handle base, bool writable);

// C-contiguous and in this machine's byte order: the array itself where it is so already.
pybind11::array plain_array(const pybind11::array& array);

std::vector<int64_t> shape_of(const pybind11::array& array);

}  // namespace pyserver::bindings
