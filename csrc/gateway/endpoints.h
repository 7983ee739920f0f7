// The API of both protocols as one table: what is served, under which category it can be restricted, and who answers it. What is in
// no row is refused right here and reaches nobody.
//
// Paths are matched raw, still percent-encoded and without their query, as Triton does; nothing is normalized on the way. A pattern's
// {model}, {repository} and {region} stand for one segment, {version} for digits, and [...] may be absent.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace pyserver::gateway {

// In the words and the order of kCategoryNames.
enum class Category : uint8_t {
  kHealth,
  kMetadata,
  kInference,
  kSharedMemory,
  kModelConfig,
  kModelRepository,
  kStatistics,
  kTrace,
  kLogging,
};

// As --http-restricted-api and --grpc-restricted-protocol name them.
inline constexpr std::string_view kCategoryNames[] = {
    "health",           "metadata",   "inference", "shared-memory", "model-config",
    "model-repository", "statistics", "trace",     "logging"};

constexpr std::string_view name_of(Category category) {
  return kCategoryNames[static_cast<size_t>(category)];
}
std::optional<Category> category_named(std::string_view name);

enum class Handler : uint8_t {
  kCore,         // the control plane, by proxy
  kLive,         // the gateway itself over HTTP; over gRPC the control plane
  kInfer,        // the engine, one answer
  kInferStream,  // the engine, a stream of requests and answers
};

struct Endpoint {
  Category category;
  std::string_view path;    // HTTP's pattern; empty: there is none
  std::string_view method;  // gRPC's, with its service; empty: there is none
  Handler handler = Handler::kCore;
};

// Where a request goes. The views point into its target.
struct Route {
  const Endpoint* endpoint = nullptr;  // none: no row has the path
  std::string_view model = {};
  std::string_view version = {};  // its digits, or empty
  std::string_view target = {};  // path and query, without the scheme and host of the absolute form
};

std::span<const Endpoint> endpoints();
Route find_path(std::string_view target);
// `path` as gRPC has it: "/package.Service/Method".
const Endpoint* find_method(std::string_view path);

}  // namespace pyserver::gateway
