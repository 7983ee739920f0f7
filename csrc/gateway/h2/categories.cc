// The table of methods and categories.
#include "gateway/h2/categories.h"

#include <algorithm>
#include <iterator>

namespace pyserver::gateway::h2 {

namespace {

struct Entry {
  std::string_view method;
  std::string_view category;
};

constexpr Entry kMethods[] = {
    {"ServerLive", "health"},
    {"ServerReady", "health"},
    {"ModelReady", "health"},
    {"ServerMetadata", "metadata"},
    {"ModelMetadata", "metadata"},
    {"ModelInfer", "inference"},
    {"ModelStreamInfer", "inference"},
    {"ModelConfig", "model-config"},
    {"ModelStatistics", "statistics"},
    {"RepositoryIndex", "model-repository"},
    {"RepositoryModelLoad", "model-repository"},
    {"RepositoryModelUnload", "model-repository"},
    {"SystemSharedMemoryStatus", "shared-memory"},
    {"SystemSharedMemoryRegister", "shared-memory"},
    {"SystemSharedMemoryUnregister", "shared-memory"},
    {"CudaSharedMemoryStatus", "shared-memory"},
    {"CudaSharedMemoryRegister", "shared-memory"},
    {"CudaSharedMemoryUnregister", "shared-memory"},
    {"TraceSetting", "trace"},
    {"LogSettings", "logging"},
};

constexpr std::string_view kService = "/inference.GRPCInferenceService/";

}  // namespace

std::string_view category_of_method(std::string_view path) {
  if (path.starts_with("/grpc.health.v1.Health/")) return "health";
  if (!path.starts_with(kService)) return {};
  path.remove_prefix(kService.size());
  const Entry* const found = std::find_if(std::begin(kMethods), std::end(kMethods),
                                          [path](const Entry& one) { return one.method == path; });
  return found != std::end(kMethods) ? found->category : std::string_view();
}

}  // namespace pyserver::gateway::h2
