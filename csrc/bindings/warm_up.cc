// Warm-up samples for Python: made and checked once per load, sent by Engine.warm_up.
#include "engine/warm_up.h"

#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "model/catalog.h"

namespace pyserver::bindings {

namespace py = pybind11;

namespace {

engine::WarmUpInput input_from(const py::dict& given) {
  engine::WarmUpInput input;
  input.name = given["name"].cast<std::string>();
  input.datatype = base::datatype_from_wire(given["datatype"].cast<std::string>())
                       .value_or(base::Datatype::kInvalid);
  input.dims = given["dims"].cast<std::vector<int64_t>>();
  input.server_made = given["server_made"].cast<bool>();
  const auto data = given["data"];
  if (py::isinstance<py::bytes>(data)) {
    input.data = engine::WarmUpInput::Data::kGiven;
    input.given = data.cast<std::string>();
  } else {
    const auto kind = data.cast<std::string>();
    if (kind != "zero" && kind != "random")
      throw py::value_error("data is bytes, 'zero' or 'random', not '" + kind + "'");
    input.data =
        kind == "zero" ? engine::WarmUpInput::Data::kZero : engine::WarmUpInput::Data::kRandom;
  }
  return input;
}

std::shared_ptr<const engine::WarmUp> make(const std::string& entry, const std::string& name,
                                           int64_t version, uint32_t requests,
                                           const std::vector<py::dict>& inputs) {
  model::Catalog catalog;
  std::shared_ptr<const model::ModelSpec> spec;
  raise_if_error(catalog.apply(entry));
  raise_if_error(catalog.find(name, std::to_string(version), &spec));
  std::vector<engine::WarmUpInput> made;
  for (const py::dict& input : inputs) made.push_back(input_from(input));
  std::shared_ptr<const engine::WarmUp> sample;
  raise_if_error(engine::WarmUp::make(std::move(spec), requests, std::move(made), &sample));
  return sample;
}

py::bytes tensors(const engine::WarmUp& sample) {
  std::vector<uint8_t> bytes(sample.byte_size(), 0xff);
  sample.fill(bytes);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

void bind_warm_up(py::module_& module) {
  using engine::WarmUp;
  py::class_<WarmUp, std::shared_ptr<WarmUp>>(
      module, "WarmUp",
      "A sample of model_warmup: `requests` equal requests of one row, which go in one batch.")
      .def(py::init([](const std::string& entry, const std::string& name, int64_t version,
                       uint32_t requests, const std::vector<py::dict>& inputs) {
             return std::const_pointer_cast<WarmUp>(make(entry, name, version, requests, inputs));
           }),
           py::arg("catalog_entry"), py::arg("name"), py::arg("version"), py::arg("requests"),
           py::arg("inputs"),
           "`inputs`: name, datatype, dims, server_made, data (bytes, 'zero' or 'random').")
      .def_property_readonly("requests", &WarmUp::requests)
      .def_property_readonly("byte_size", &WarmUp::byte_size)
      .def("tensors", &tensors, "The bytes of all inputs, each from a multiple of 64 on.");
}

}  // namespace pyserver::bindings
