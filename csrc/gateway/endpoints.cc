// The table, and the matching of patterns.
#include "gateway/endpoints.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "gateway/http_parser.h"

namespace pyserver::gateway {

namespace {

using enum Category;

// The first row that matches counts. Inference comes first because most requests are.
constexpr auto kEndpoints = std::to_array<Endpoint>({
    {kInference, "/v2/models/{model}[/versions/{version}]/infer",
     "/inference.GRPCInferenceService/ModelInfer", Handler::kInfer},
    {kInference, "", "/inference.GRPCInferenceService/ModelStreamInfer", Handler::kInferStream},
    {kInference, "/v2/models/{model}[/versions/{version}]/generate", ""},
    {kInference, "/v2/models/{model}[/versions/{version}]/generate_stream", ""},

    {kHealth, "/v2/health/live", "/inference.GRPCInferenceService/ServerLive", Handler::kLive},
    {kHealth, "/v2/health/ready", "/inference.GRPCInferenceService/ServerReady"},
    {kHealth, "/v2/models/{model}[/versions/{version}]/ready",
     "/inference.GRPCInferenceService/ModelReady"},
    {kHealth, "", "/grpc.health.v1.Health/Check"},
    {kHealth, "", "/grpc.health.v1.Health/Watch"},

    // Before the metadata of a model: its path is that of a model named "stats".
    {kStatistics, "/v2/models/stats", "/inference.GRPCInferenceService/ModelStatistics"},
    {kStatistics, "/v2/models/{model}[/versions/{version}]/stats", ""},
    {kStatistics, "/v2/pyserver/counters", ""},

    {kMetadata, "/v2", "/inference.GRPCInferenceService/ServerMetadata"},
    {kMetadata, "/v2/models/{model}[/versions/{version}]",
     "/inference.GRPCInferenceService/ModelMetadata"},
    {kMetadata, "", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"},
    {kMetadata, "", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"},

    {kModelConfig, "/v2/models/{model}[/versions/{version}]/config",
     "/inference.GRPCInferenceService/ModelConfig"},

    {kModelRepository, "/v2/repository[/{repository}]/index",
     "/inference.GRPCInferenceService/RepositoryIndex"},
    {kModelRepository, "/v2/repository[/{repository}]/models/{model}/load",
     "/inference.GRPCInferenceService/RepositoryModelLoad"},
    {kModelRepository, "/v2/repository[/{repository}]/models/{model}/unload",
     "/inference.GRPCInferenceService/RepositoryModelUnload"},

    {kSharedMemory, "/v2/systemsharedmemory[/region/{region}]/status",
     "/inference.GRPCInferenceService/SystemSharedMemoryStatus"},
    {kSharedMemory, "/v2/systemsharedmemory[/region/{region}]/register",
     "/inference.GRPCInferenceService/SystemSharedMemoryRegister"},
    {kSharedMemory, "/v2/systemsharedmemory[/region/{region}]/unregister",
     "/inference.GRPCInferenceService/SystemSharedMemoryUnregister"},
    {kSharedMemory, "/v2/cudasharedmemory[/region/{region}]/status",
     "/inference.GRPCInferenceService/CudaSharedMemoryStatus"},
    {kSharedMemory, "/v2/cudasharedmemory[/region/{region}]/register",
     "/inference.GRPCInferenceService/CudaSharedMemoryRegister"},
    {kSharedMemory, "/v2/cudasharedmemory[/region/{region}]/unregister",
     "/inference.GRPCInferenceService/CudaSharedMemoryUnregister"},

    {kTrace, "/v2/trace/setting", "/inference.GRPCInferenceService/TraceSetting"},
    {kTrace, "/v2/models/{model}/trace/setting", ""},

    {kLogging, "/v2/logging", "/inference.GRPCInferenceService/LogSettings"},
});

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The segment, or the digits, that a {name} takes from the front of `path`; empty: it does not match.
std::string_view value_of(std::string_view name, std::string_view path) {
  const std::string_view segment = path.substr(0, path.find('/'));
  if (name == "version" && !std::all_of(segment.begin(), segment.end(), is_digit)) return {};
  return segment;
}

bool matches(std::string_view pattern, std::string_view path, Route* route) {
  while (!pattern.empty()) {
    if (pattern.front() == '[') {
      const size_t end = pattern.find(']');
      const std::string_view rest = pattern.substr(end + 1);
      // Text and a {name}: tried in front of what follows, then left out.
      const std::string_view inside = pattern.substr(1, end - 1);
      const size_t name = inside.find('{');
      if (path.starts_with(inside.substr(0, name))) {
        const std::string_view after = path.substr(name);
        const std::string_view key = inside.substr(name + 1, inside.size() - name - 2);
        const std::string_view value = value_of(key, after);
        if (!value.empty() && matches(rest, after.substr(value.size()), route)) {
          if (key == "version") route->version = value;
          return true;
        }
      }
      pattern = rest;
    } else if (pattern.front() == '{') {
      const size_t end = pattern.find('}');
      const std::string_view key = pattern.substr(1, end - 1);
      const std::string_view value = value_of(key, path);
      if (value.empty()) return false;
      if (key == "model") route->model = value;
      path.remove_prefix(value.size());
      pattern.remove_prefix(end + 1);
    } else {
      const std::string_view literal = pattern.substr(0, pattern.find_first_of("[{"));
      if (!path.starts_with(literal)) return false;
      path.remove_prefix(literal.size());
      pattern.remove_prefix(literal.size());
    }
  }
  return path.empty();
}

// Path and query of a target in absolute form (for proxies), or the target itself. Empty: neither.
std::string_view origin_form(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!equals_ignoring_case(target.substr(0, scheme.size()), scheme)) continue;
    const size_t end = target.find_first_of("/?#", scheme.size());
    if (end == std::string_view::npos || target[end] != '/') return {};
    return target.substr(end);
  }
  return target.starts_with('/') ? target : std::string_view();
}

}  // namespace

std::optional<Category> category_named(std::string_view name) {
  const auto* const found = std::find(std::begin(kCategoryNames), std::end(kCategoryNames), name);
  if (found == std::end(kCategoryNames)) return std::nullopt;
  return static_cast<Category>(found - std::begin(kCategoryNames));
}

std::span<const Endpoint> endpoints() { return kEndpoints; }

Route find_path(std::string_view target) {
  const std::string_view whole = origin_form(target);
  // A fragment has no place in a request; where it would begin, readers disagree.
  if (whole.find('#') != std::string_view::npos) return {};
  const std::string_view path = whole.substr(0, whole.find('?'));
  for (const Endpoint& endpoint : kEndpoints) {
    Route route;
    if (endpoint.path.empty() || !matches(endpoint.path, path, &route)) continue;
    route.endpoint = &endpoint;
    route.target = whole;
    return route;
  }
  return {};
}

const Endpoint* find_method(std::string_view path) {
  if (path.empty()) return nullptr;
  const auto* const found =
      std::find_if(kEndpoints.begin(), kEndpoints.end(),
                   [path](const Endpoint& endpoint) { return endpoint.method == path; });
  return found != kEndpoints.end() ? found : nullptr;
}

}  // namespace pyserver::gateway
