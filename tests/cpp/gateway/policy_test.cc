// Verdicts, and that both protocols act on them.
#include "gateway/policy.h"

#include "gateway/h2_client.h"

namespace pyserver::gateway::testing {
namespace {

constexpr const char* kInfer = "/inference.GRPCInferenceService/ModelInfer";
const std::string kData = std::string("\0\0\x80\x3f", 4);

GatewaySettings restricting(const std::string& category) {
  GatewaySettings settings;
  settings.restrictions[category] = {"X-Key", "secret"};
  settings.grpc.restrictions[category] = {"Key", "secret"};
  return settings;
}

Policy::ValueOf sending(std::string_view name, std::string_view value) {
  return
      [name, value](std::string_view asked) { return asked == name ? value : std::string_view(); };
}

TEST(Policy, every_endpoint_of_a_restricted_category_wants_the_header) {
  const auto nothing = sending("", "");
  for (const std::string_view category : kCategoryNames) {
    const Policy policy(restricting(std::string(category)));
    for (const Endpoint& endpoint : endpoints()) {
      if (endpoint.method.empty()) continue;
      const Decision bare = policy.judge_grpc(endpoint.method, nothing);
      const bool restricted = name_of(endpoint.category) == category;
      EXPECT_EQ(bare.verdict, restricted ? Verdict::kRestricted : Verdict::kAllowed)
          << endpoint.method;
      EXPECT_EQ(bare.header, restricted ? "triton-grpc-protocol-Key" : "");
      EXPECT_EQ(
          policy.judge_grpc(endpoint.method, sending("triton-grpc-protocol-Key", "secret")).verdict,
          Verdict::kAllowed);
    }
  }
}

TEST(Policy, values_must_be_the_same_to_the_last_character) {
  const Policy policy(restricting("metadata"));
  EXPECT_EQ(policy.judge_http("/v2", sending("X-Key", "secret")).verdict, Verdict::kAllowed);
  for (const std::string_view value : {"", "secre", "secrets", "Secret", "secret "}) {
    const Decision decision = policy.judge_http("/v2", sending("X-Key", value));
    EXPECT_EQ(decision.verdict, Verdict::kRestricted) << value;
    EXPECT_EQ(decision.header, "X-Key");
  }
}

TEST(Policy, what_is_unknown_is_so_with_and_without_a_header) {
  const Policy policy(restricting("metadata"));
  EXPECT_EQ(policy.judge_http("/v2/", sending("X-Key", "secret")).verdict, Verdict::kUnknown);
  EXPECT_EQ(policy.judge_grpc("/v2", sending("X-Key", "secret")).verdict, Verdict::kUnknown);
}

TEST(Policy, a_restriction_of_nothing_is_not_passed_over) {
  GatewaySettings settings;
  settings.restrictions["helth"] = {"a", "b"};
  EXPECT_DEATH(Policy{settings}, "no category 'helth'");
}

class PolicyTest : public GatewayTest {
 protected:
  H2Client::Answer call(H2Client* client, const char* path,
                        std::vector<std::pair<std::string, std::string>> fields = {}) {
    const int32_t id = client->open(path, std::move(fields));
    client->write(id, framed(infer_message(kData)), true);
    for (int turn = 0; turn < 12; ++turn) {
      client->flush();
      gateway->turn(0);
      core->poll();
      client->read();
    }
    return client->answers[id];
  }
  std::string get(const std::string& target, const std::string& headers = "") {
    return exchange("GET " + target + " HTTP/1.1\r\n" + headers + "\r\n");
  }
};

TEST_F(PolicyTest, an_unknown_path_never_reaches_core) {
  for (const std::string target : {"/", "/nowhere", "/v2/", "//v2", "/v2/health%2fready", "/V2",
                                   "http://x", "/v2/health/ready;x", "/v2/models/a/../b/config"}) {
    const std::string answer = get(target);
    EXPECT_EQ(answer.substr(0, 24), "HTTP/1.1 404 Not Found\r\n") << target;
    EXPECT_EQ(body_of(answer), R"({"error":"Not Found"})") << target;
  }
  EXPECT_FALSE(core->take_proxy().valid());
}

TEST_F(PolicyTest, the_absolute_form_reaches_core_as_a_path) {
  Client client = connect();
  client.send("GET http://there/v2/logging?a HTTP/1.1\r\nHost: here\r\n\r\n");
  run();
  Client up(core->take_proxy().release());
  EXPECT_EQ(up.read(), "GET /v2/logging?a HTTP/1.1\r\nHost: here\r\n\r\n");
}

TEST_F(PolicyTest, the_absolute_form_does_not_get_around_a_restriction) {
  start(restricting("metadata"));
  for (const std::string target : {"/v2", "http://x/v2", "HTTP://x/v2?y", "https://x:9/v2"}) {
    EXPECT_EQ(get(target).substr(0, 12), "HTTP/1.1 403") << target;
  }
}

TEST_F(PolicyTest, a_restriction_comes_before_the_method_and_before_core_is_missed) {
  start(restricting("model-repository"));
  gateway->core_lost();
  const std::string refused = get("/v2/repository/index");
  EXPECT_EQ(refused.substr(0, 12), "HTTP/1.1 403");
  EXPECT_EQ(body_of(refused), R"({"error":"This API is restricted, expecting header 'X-Key'"})");
  EXPECT_EQ(get("/v2/repository/index", "x-key: secret\r\n").substr(0, 12), "HTTP/1.1 503");
  EXPECT_EQ(get("/v2/nowhere").substr(0, 12), "HTTP/1.1 404");
}

TEST_F(PolicyTest, an_unknown_method_never_reaches_core) {
  H2Client client(connect());
  for (const char* const path : {"/inference.GRPCInferenceService/Nothing", "/x/y",
                                 "/inference.GRPCInferenceService/modelinfer",
                                 "/inference.GRPCInferenceService/ModelInfer?x", "/v2"}) {
    const auto answer = call(&client, path);
    EXPECT_EQ(answer.status(), "12") << path;
    EXPECT_EQ(answer.message(), "") << path;
  }
  EXPECT_EQ(gateway->snapshot().proxied, 0u);
}

TEST_F(PolicyTest, metadata_is_matched_in_any_case_of_its_key) {
  start(restricting("inference"));
  H2Client client(connect());
  const auto refused = call(&client, kInfer);
  EXPECT_EQ(refused.status(), "14");
  EXPECT_EQ(refused.message(),
            "This protocol is restricted, expecting header 'triton-grpc-protocol-Key'");
  EXPECT_EQ(call(&client, kInfer, {{"triton-grpc-protocol-key", "other"}}).status(), "14");
  EXPECT_EQ(call(&client, kInfer, {{"key", "secret"}}).status(), "14");
  EXPECT_EQ(call(&client, kInfer, {{"triton-grpc-protocol-key", "secret"}}).status(), "0");
}

}  // namespace
}  // namespace pyserver::gateway::testing
