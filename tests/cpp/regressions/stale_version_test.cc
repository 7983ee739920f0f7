// Escaped: a request whose body came in after its head was sent to the version that had served when the head came, and refused
// when that one was gone; found by a hundred swaps under load.
#include "gateway/harness.h"

namespace pyserver::gateway::testing {
namespace {

class StaleVersion : public GatewayTest {
 protected:
  // What core announces of model "m" when `version` serves; 0: none does.
  void announce(int version) {
    std::string message = kModel;
    const auto replace = [&message](std::string_view from, const std::string& to) {
      message.replace(message.find(from), from.size(), to);
    };
    if (version == 0) {
      message = R"({"op":"model","name":"m","versions":[{"version":1,"handle":0,)"
                R"("state":"UNAVAILABLE","spec":null}]})";
    } else {
      replace(R"("version":1)", R"("version":)" + std::to_string(version));
      replace(R"("handle":5)", R"("handle":)" + std::to_string(100 + version));
    }
    EXPECT_OK(gateway->apply_model(message));
  }

  // The answer to a request during whose body the model is switched to `version`.
  std::string switched_meanwhile(int version, const std::string& path = "/v2/models/m/infer") {
    const std::string request = post(kJsonBody, "", path);
    const size_t head = request.find("\r\n\r\n") + 4;
    Client client = connect();
    EXPECT_EQ(exchange(&client, request.substr(0, head + 10)), "");
    announce(version);
    return exchange(&client, request.substr(head + 10));
  }
};

TEST_F(StaleVersion, WhoeverNamesNoneIsAnsweredByTheOneThatServesWhenTheBodyIsThere) {
  const std::string answer = switched_meanwhile(2);
  EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 200");
  EXPECT_NE(answer.find(R"("model_version":"2")"), std::string::npos) << answer;
  ASSERT_EQ(core->submits.size(), 1u);
  EXPECT_EQ(core->submits[0].model, 102u);
  expect_nothing_left();
}

TEST_F(StaleVersion, AReloadOfTheNamedVersionIsTheSame) {
  const std::string answer = switched_meanwhile(1, "/v2/models/m/versions/1/infer");
  EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 200");
  EXPECT_EQ(core->submits.at(0).model, 101u);
  expect_nothing_left();
}

TEST_F(StaleVersion, TheNamedVersionIsNotReplacedByAnother) {
  const std::string answer = switched_meanwhile(2, "/v2/models/m/versions/1/infer");
  EXPECT_NE(answer.find("Request for unknown model: 'm' version 1 is not found"), std::string::npos)
      << answer;
  EXPECT_TRUE(core->submits.empty());
  expect_nothing_left();
}

TEST_F(StaleVersion, AModelThatIsGoneByThenIsRefused) {
  const std::string answer = switched_meanwhile(0);
  EXPECT_NE(answer.find("Request for unknown model: 'm' has no available versions"),
            std::string::npos)
      << answer;
  expect_nothing_left();
}

}  // namespace
}  // namespace pyserver::gateway::testing
