// The table of endpoints: which paths and methods it knows, and what it does not let through.
#include "gateway/endpoints.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace pyserver::gateway {
namespace {

TEST(Endpoints, paths_of_inference_give_model_and_version) {
  struct Row {
    std::string_view target;
    std::string_view model;
    std::string_view version;
  };
  const std::vector<Row> rows = {
      {"/v2/models/m/infer", "m", ""},
      {"/v2/models/m/infer?a=/b", "m", ""},
      {"/v2/models/a%20b/infer", "a%20b", ""},
      {"/v2/models/versions/infer", "versions", ""},
      {"/v2/models/infer/infer", "infer", ""},
      {"/v2/models/m/versions/3/infer", "m", "3"},
      {"/v2/models/m/versions/003/infer", "m", "003"},
      {"/v2/models/versions/versions/1/infer", "versions", "1"},
      {"http://x/v2/models/m/infer?a", "m", ""},
      {"HTTPS://x:1/v2/models/m/infer", "m", ""},
  };
  for (const Row& row : rows) {
    const Route route = find_path(row.target);
    ASSERT_NE(route.endpoint, nullptr) << row.target;
    EXPECT_EQ(route.endpoint->handler, Handler::kInfer) << row.target;
    EXPECT_EQ(route.model, row.model) << row.target;
    EXPECT_EQ(route.version, row.version) << row.target;
  }
}

TEST(Endpoints, every_path_has_its_category) {
  const std::vector<std::pair<std::string_view, std::string_view>> rows = {
      {"/v2", "metadata"},
      {"/v2?x", "metadata"},
      {"/v2/models/m", "metadata"},
      {"/v2/models/m/versions/1", "metadata"},
      {"/v2/models/stats/versions/1", "metadata"},
      {"/v2/models/versions", "metadata"},
      {"/v2/models/stats", "statistics"},
      {"/v2/models/stats/stats", "statistics"},
      {"/v2/models/m/stats", "statistics"},
      {"/v2/models/m/versions/1/stats", "statistics"},
      {"/v2/pyserver/counters", "statistics"},
      {"/v2/health/live", "health"},
      {"/v2/health/live?x", "health"},
      {"/v2/health/ready", "health"},
      {"/v2/models/m/ready", "health"},
      {"/v2/models/m/versions/2/ready", "health"},
      {"/v2/models/m/infer", "inference"},
      {"/v2/models/m/generate", "inference"},
      {"/v2/models/m/versions/1/generate_stream", "inference"},
      {"/v2/models/m/config", "model-config"},
      {"/v2/repository/index", "model-repository"},
      {"/v2/repository/any/index", "model-repository"},
      {"/v2/repository/models/m/load", "model-repository"},
      {"/v2/repository/any/models/m/unload", "model-repository"},
      {"/v2/systemsharedmemory/status", "shared-memory"},
      {"/v2/systemsharedmemory/region/r/status", "shared-memory"},
      {"/v2/cudasharedmemory/region/r/register", "shared-memory"},
      {"/v2/cudasharedmemory/unregister", "shared-memory"},
      {"/v2/trace/setting", "trace"},
      {"/v2/models/m/trace/setting", "trace"},
      {"/v2/logging", "logging"},
  };
  for (const auto& [target, category] : rows) {
    const Route route = find_path(target);
    ASSERT_NE(route.endpoint, nullptr) << target;
    EXPECT_EQ(name_of(route.endpoint->category), category) << target;
  }
}

TEST(Endpoints, what_is_not_written_as_in_the_table_is_unknown) {
  for (const std::string_view target : {
           "",
           "/",
           "*",
           "/v1/models",
           "/v2/",
           "//v2",
           "/./v2",
           "/x/../v2",
           "/v2;a=b",
           "/v2#a",
           "/v2/models/m#?",
           "/V2",
           "/%76%32",
           "/v2/health",
           "/v2/health/",
           "/v2/health/live/",
           "/v2/health/live/.",
           "/v2//health/live",
           "/v2/health//live",
           "/v2/health%2flive",
           "/v2/health/%6cive",
           "/v2/health/LIVE",
           "/v2/health/live;x",
           "/v2/health/live%20",
           "/v2/models",
           "/v2/models/",
           "/v2/models//infer",
           "/v2/models//versions/1/infer",
           "/v2/models/m/versions/x/infer",
           "/v2/models/m/versions//infer",
           "/v2/models/m/versions/-1/infer",
           "/v2/models/m/versions/1/",
           "/v2/models/m/n/infer",
           "/v2/models/m/infer/",
           "/v2/models/m/inferx",
           "/v2/models/m/Infer",
           "/v2/models/m/infer;x",
           "/v2/models/m/%69nfer",
           "/v2/models/m/versions/1/trace/setting",
           "/v2/models/../health/live",
           "/v2/models/a%2f..%2fb/x",
           "/v2/logging/",
           "/v2/loggings",
           "/v2/trace",
           "/v2/repository",
           "/v2/repository/a/b/index",
           "/v2/repository/index/index/index",
           "/v2/systemsharedmemory",
           "/v2/systemsharedmemory/region//status",
           "/v2/gpusharedmemory/status",
           "http://",
           "http://x",
           "http://x?/v2",
           "http://x#/v2",
           "http:/v2",
           "ftp://x/v2",
           "x:1",
           "v2",
       }) {
    EXPECT_EQ(find_path(target).endpoint, nullptr) << target;
  }
}

TEST(Endpoints, core_is_sent_the_path_that_was_judged) {
  EXPECT_EQ(find_path("/v2?a=b").target, "/v2?a=b");
  EXPECT_EQ(find_path("http://x:1/v2?a=http://y/").target, "/v2?a=http://y/");
}

TEST(Endpoints, methods_are_matched_whole) {
  const Endpoint* const infer = find_method("/inference.GRPCInferenceService/ModelInfer");
  ASSERT_NE(infer, nullptr);
  EXPECT_EQ(infer->handler, Handler::kInfer);
  EXPECT_EQ(find_method("/inference.GRPCInferenceService/ModelStreamInfer")->handler,
            Handler::kInferStream);
  EXPECT_EQ(find_method("/grpc.health.v1.Health/List"), nullptr);
  EXPECT_EQ(find_method("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")->category,
            Category::kMetadata);
  for (const std::string_view path : {
           "",
           "/",
           "ModelInfer",
           "/inference.GRPCInferenceService/",
           "/inference.GRPCInferenceService/modelinfer",
           "/inference.GRPCInferenceService/ModelInfer/",
           "/inference.GRPCInferenceService/ModelInfer?x",
           "//inference.GRPCInferenceService/ModelInfer",
           "/inference.GRPCInferenceService/%4dodelInfer",
           "inference.GRPCInferenceService/ModelInfer",
           "/grpc.health.v1.Health/Nothing",
           "/v2/health/live",
       }) {
    EXPECT_EQ(find_method(path), nullptr) << path;
  }
}

TEST(Endpoints, the_table_is_well_formed) {
  std::set<std::string_view> paths;
  std::set<std::string_view> methods;
  for (const Endpoint& endpoint : endpoints()) {
    EXPECT_FALSE(endpoint.path.empty() && endpoint.method.empty());
    if (!endpoint.path.empty()) {
      EXPECT_TRUE(endpoint.path.starts_with("/v2")) << endpoint.path;
      EXPECT_TRUE(paths.insert(endpoint.path).second) << endpoint.path;
    }
    if (!endpoint.method.empty()) {
      EXPECT_TRUE(methods.insert(endpoint.method).second) << endpoint.method;
    }
  }
  for (const std::string_view name : kCategoryNames) {
    ASSERT_TRUE(category_named(name)) << name;
    EXPECT_EQ(name_of(*category_named(name)), name);
  }
  EXPECT_FALSE(category_named("all"));
}

}  // namespace
}  // namespace pyserver::gateway
