// The Tensor of triton_python_backend_utils: a request's input that stays where it is, an array, or
// a DLPack tensor.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/datatype.h"
#include "bindings/dlpack.h"
#include "instance/calls.h"
#include "instance/memory.h"
#include "instance/request.h"

namespace pyserver::bindings {

// What the Triton Python API raises; registered as
// triton_python_backend_utils.TritonModelException.
class TritonModelException : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Tensor {
 public:
  Tensor(std::string name, const pybind11::array& array);
  Tensor(std::string name, DlPacked packed);
  // The same bytes under another name.
  Tensor(std::string name, const Tensor& other);
  // An input of `request`, without a copy.
  Tensor(instance::RequestRef request, const instance::Input& input);
  // Elements to be written where a response will name them: in the region of this process's instance, or in plain memory where there is
  // none. Throws TritonModelException when they do not fit.
  static Tensor empty(std::string name, const pybind11::dtype& dtype, std::vector<int64_t> shape);
  // An output of a response to a call, likewise.
  Tensor(instance::AnswerRef answer, const instance::AnswerOutput& output);

  const std::string& name() const { return name_; }
  base::Datatype datatype() const { return datatype_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  // A view; of an input it keeps the request's memory from being released. BYTES are decoded anew
  // at each call.
  pybind11::array as_numpy() const;
  pybind11::capsule to_dlpack() const;

  // The request whose input this is, or is a view of; else null.
  const instance::RequestRef& request() const { return request_; }
  // Likewise, the response to a call.
  const instance::AnswerRef& answer() const { return answer_; }
  // Where the bytes are, if others can read them there: in the memory of request() or of answer().
  const std::optional<shm::Location>& location() const { return location_; }
  // The elements in C order. Not for BYTES that came as an object array: see object_array().
  std::span<const uint8_t> bytes() const { return bytes_; }
  // The object array of a BYTES tensor made by the user; else a null object.
  const pybind11::object& object_array() const { return object_array_; }
  // The place in a region that the elements lie in, of a tensor made by empty(); else null.
  const instance::BufferRef& buffer() const { return buffer_; }
  // The array is read-only from now on: a response names its memory.
  void seal() const;

 private:
  // An array over shared memory of ours, as as_numpy() made it or a view of such a one, stays there.
  void find_place(const pybind11::array& array);

  std::string name_;
  base::Datatype datatype_ = base::Datatype::kInvalid;
  std::vector<int64_t> shape_;
  std::span<const uint8_t> bytes_;
  instance::RequestRef request_;
  instance::AnswerRef answer_;
  std::optional<shm::Location> location_;
  pybind11::object array_;  // keeps bytes_ alive, of an array
  pybind11::object object_array_;
  std::shared_ptr<DlManagedTensor> packed_;
  instance::BufferRef buffer_;
};

// The region that Tensor.empty() takes memory of: that of the executor made last. A process whose models make tensors by themselves
// has one executor only.
void make_tensors_in(const std::shared_ptr<instance::Memory>& memory);

void bind_tensor(pybind11::module_& module);

}  // namespace pyserver::bindings
