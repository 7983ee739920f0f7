// Paths: raw, without the query, and the category of each.
#include "gateway/router.h"

#include <gtest/gtest.h>

#include <vector>

namespace pyserver::gateway {
namespace {

TEST(Router, the_table_of_paths) {
  struct Row {
    std::string_view target;
    RouteKind kind;
    std::string_view model;
    std::string_view version;
  };
  const std::vector<Row> rows = {
      {"/v2/health/live", RouteKind::kLive, "", ""},
      {"/v2/health/live?x", RouteKind::kLive, "", ""},
      {"/v2/health/live/", RouteKind::kProxy, "", ""},
      {"/v2/models/m/infer", RouteKind::kInfer, "m", ""},
      {"/v2/models/m/infer?a=/b", RouteKind::kInfer, "m", ""},
      {"/v2/models/a%20b/infer", RouteKind::kInfer, "a%20b", ""},
      {"/v2/models/versions/infer", RouteKind::kInfer, "versions", ""},
      {"/v2/models/m/versions/3/infer", RouteKind::kInfer, "m", "3"},
      {"/v2/models/m/versions/003/infer", RouteKind::kInfer, "m", "003"},
      {"/v2/models/m/versions/x/infer", RouteKind::kProxy, "", ""},
      {"/v2/models/m/versions//infer", RouteKind::kProxy, "", ""},
      {"/v2/models/m/versions/-1/infer", RouteKind::kProxy, "", ""},
      {"/v2/models/m/n/infer", RouteKind::kProxy, "", ""},
      {"/v2/models//infer", RouteKind::kProxy, "", ""},
      {"/v2/models/infer", RouteKind::kProxy, "", ""},
      {"/v2/models//versions/1/infer", RouteKind::kProxy, "", ""},
      {"/v2/models/m/infer/", RouteKind::kProxy, "", ""},
      {"/v2/models/m/inferx", RouteKind::kProxy, "", ""},
      {"/V2/models/m/infer", RouteKind::kProxy, "", ""},
      {"/v2", RouteKind::kProxy, "", ""},
      {"", RouteKind::kProxy, "", ""},
      {"http://x/v2/models/m/infer?a", RouteKind::kInfer, "m", ""},
      {"http://x", RouteKind::kProxy, "", ""},
  };
  for (const Row& row : rows) {
    const Route route = find_route(row.target);
    EXPECT_EQ(route.kind, row.kind) << row.target;
    EXPECT_EQ(route.model, row.model) << row.target;
    EXPECT_EQ(route.version, row.version) << row.target;
  }
}

TEST(Router, the_table_of_categories) {
  const std::vector<std::pair<std::string_view, std::string_view>> rows = {
      {"/v2", "metadata"},
      {"/v2?x", "metadata"},
      {"/v2/models/m", "metadata"},
      {"/v2/models/m/versions/1", "metadata"},
      {"/v2/models/stats", "statistics"},
      {"/v2/models/m/stats", "statistics"},
      {"/v2/models/m/versions/1/stats", "statistics"},
      {"/v2/health/live", "health"},
      {"/v2/health/ready", "health"},
      {"/v2/models/m/ready", "health"},
      {"/v2/models/m/versions/2/ready", "health"},
      {"/v2/models/m/infer", "inference"},
      {"/v2/models/m/versions/1/infer", "inference"},
      {"/v2/models/m/generate", "inference"},
      {"/v2/models/m/generate_stream", "inference"},
      {"/v2/models/m/config", "model-config"},
      {"/v2/repository/index", "model-repository"},
      {"/v2/repository/models/m/load", "model-repository"},
      {"/v2/systemsharedmemory/status", "shared-memory"},
      {"/v2/cudasharedmemory/region/r/register", "shared-memory"},
      {"/v2/trace/setting", "trace"},
      {"/v2/models/m/trace/setting", "trace"},
      {"/v2/logging", "logging"},
      {"/v1/models", ""},
      {"/", ""},
  };
  for (const auto& [target, category] : rows) EXPECT_EQ(category_of(target), category) << target;
}

}  // namespace
}  // namespace pyserver::gateway
