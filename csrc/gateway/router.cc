// The two paths of the gateway, and the category of every path of the API.
#include "gateway/router.h"

#include <algorithm>

namespace pyserver::gateway {

namespace {

constexpr std::string_view kModels = "/v2/models/";
constexpr std::string_view kVersions = "/versions/";
constexpr std::string_view kInfer = "/infer";

bool all_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Of a target in absolute form (for proxies) what follows the authority, without the query.
std::string_view path_of(std::string_view target) {
  if (target.starts_with("http://")) {
    const size_t slash = target.find('/', 7);
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  return target.substr(0, target.find('?'));
}

}  // namespace

Route find_route(std::string_view target) {
  const std::string_view path = path_of(target);
  if (path == "/v2/health/live") return {RouteKind::kLive, {}, {}};
  if (!path.starts_with(kModels) || !path.ends_with(kInfer)) return {};
  std::string_view middle = path.substr(kModels.size());
  if (middle.size() <= kInfer.size()) return {};
  middle.remove_suffix(kInfer.size());
  const size_t slash = middle.find('/');
  if (slash == std::string_view::npos) return {RouteKind::kInfer, middle, {}};
  const std::string_view model = middle.substr(0, slash);
  const std::string_view rest = middle.substr(slash);
  if (model.empty() || !rest.starts_with(kVersions)) return {};
  const std::string_view version = rest.substr(kVersions.size());
  if (!all_digits(version)) return {};
  return {RouteKind::kInfer, model, version};
}

std::string_view category_of(std::string_view target) {
  const std::string_view path = path_of(target);
  if (path == "/v2") return "metadata";
  if (path.starts_with("/v2/health/")) return "health";
  if (path.starts_with("/v2/repository/")) return "model-repository";
  if (path.starts_with("/v2/systemsharedmemory") || path.starts_with("/v2/cudasharedmemory"))
    return "shared-memory";
  if (path.starts_with("/v2/trace/")) return "trace";
  if (path.starts_with("/v2/logging")) return "logging";
  if (!path.starts_with(kModels)) return {};
  if (path == "/v2/models/stats") return "statistics";
  // /v2/models/{m}[/versions/{v}]/verb: the verb decides; without one it is the model's metadata.
  const std::string_view rest = path.substr(kModels.size());
  const size_t slash = rest.find('/');
  std::string_view verb = slash == std::string_view::npos ? std::string_view() : rest.substr(slash);
  if (verb.starts_with(kVersions)) {
    const size_t end = verb.find('/', kVersions.size());
    verb = end == std::string_view::npos ? std::string_view() : verb.substr(end);
  }
  if (verb.empty()) return "metadata";
  if (verb == kInfer || verb == "/generate" || verb == "/generate_stream") return "inference";
  if (verb == "/ready") return "health";
  if (verb == "/config") return "model-config";
  if (verb == "/stats") return "statistics";
  if (verb == "/trace/setting") return "trace";
  return {};
}

}  // namespace pyserver::gateway
