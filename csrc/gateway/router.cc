// The two paths of the gateway; everything else is the control plane's.
#include "gateway/router.h"

#include <algorithm>

namespace pyserver::gateway {

namespace {

constexpr std::string_view kModels = "/v2/models/";
constexpr std::string_view kVersions = "/versions/";
constexpr std::string_view kInfer = "/infer";

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

Route find_route(std::string_view target) {
  const std::string_view path = target.substr(0, target.find('?'));
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

}  // namespace pyserver::gateway
