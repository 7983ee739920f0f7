// The Python module pyserver._core: each role's classes, and the constants that Python shares with C++.
#include "bindings/bindings.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "pyserver's native core: shared memory, engine, gateway and instance.";
  pyserver::bindings::bind_layout(module);
  pyserver::bindings::bind_warm_up(module);
  pyserver::bindings::bind_engine(module);
  pyserver::bindings::bind_gateway(module);
  pyserver::bindings::bind_endpoints(module);
  pyserver::bindings::bind_instance(module);
}
