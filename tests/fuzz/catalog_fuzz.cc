// Catalog entries: refused or taken, and what was taken can be asked for.
#include <memory>
#include <string_view>

#include "model/catalog.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pyserver::model;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Catalog catalog;
  if (!catalog.apply(text).ok() && catalog.size() != 0) __builtin_trap();
  std::shared_ptr<const ModelSpec> model;
  for (const std::string_view version : {"", "1", "0", "-1", "9223372036854775808", "x"}) {
    if (catalog.find("m", version, &model).ok() && model->version_text.empty()) __builtin_trap();
  }
  if (catalog.find(text.substr(0, 8), text.substr(0, 4), &model).ok()) catalog.forget(model->name);
  return 0;
}
