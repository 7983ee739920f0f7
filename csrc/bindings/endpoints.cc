// The table of endpoints, for the command line's checks and for the test that compares it with core's routes.
#include "gateway/endpoints.h"

#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "bindings/bindings.h"

namespace pyserver::bindings {

namespace py = pybind11;

namespace {

py::list api_table() {
  py::list rows;
  for (const gateway::Endpoint& endpoint : gateway::endpoints()) {
    rows.append(
        py::make_tuple(gateway::name_of(endpoint.category), endpoint.path, endpoint.method));
  }
  return rows;
}

std::optional<std::string> api_category(const std::string& target) {
  const gateway::Route route = gateway::find_path(target);
  if (route.endpoint == nullptr) return std::nullopt;
  return std::string(gateway::name_of(route.endpoint->category));
}

}  // namespace

void bind_endpoints(py::module_& module) {
  py::list categories;
  for (const std::string_view name : gateway::kCategoryNames) categories.append(name);
  module.attr("API_CATEGORIES") = py::tuple(categories);
  // Rows of (category, HTTP's pattern, gRPC's method); "" where a protocol has none.
  module.def("api_table", &api_table);
  // What a request with this target needs to pass; None: it is refused as unknown.
  module.def("api_category", &api_category, py::arg("target"));
}

}  // namespace pyserver::bindings
