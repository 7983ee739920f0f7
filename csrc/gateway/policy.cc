// Restrictions by category, and their check.
#include "gateway/policy.h"

#include <cstdio>
#include <cstdlib>

namespace pyserver::gateway {

namespace {

constexpr std::string_view kGrpcPrefix = "triton-grpc-protocol-";

// In a time that does not depend on where the two differ: the value is a secret.
bool same_secret(std::string_view given, std::string_view wanted) {
  if (given.size() != wanted.size() || wanted.empty()) return false;
  volatile unsigned char difference = 0;
  for (size_t index = 0; index < wanted.size(); ++index) {
    difference = difference | static_cast<unsigned char>(given[index] ^ wanted[index]);
  }
  return difference == 0;
}

}  // namespace

Policy::Policy(const GatewaySettings& settings)
    : http_(make_rules(settings.restrictions, {})),
      grpc_(make_rules(settings.grpc.restrictions, kGrpcPrefix)) {}

Policy::Rules Policy::make_rules(
    const std::map<std::string, Restriction, std::less<>>& restrictions, std::string_view prefix) {
  Rules rules;
  for (const auto& [name, restriction] : restrictions) {
    const std::optional<Category> category = category_named(name);
    if (!category) {  // to go on would leave open what somebody wants closed
      std::fprintf(stderr, "there is no category '%s' to restrict\n", name.c_str());
      std::abort();
    }
    rules[static_cast<size_t>(*category)] =
        Restriction{std::string(prefix) + restriction.header, restriction.value};
  }
  return rules;
}

Decision Policy::judge_http(std::string_view target, const ValueOf& value_of,
                            const Entrance& entrance) const {
  const Decision decision = judge(http_, find_path(target), value_of);
  if (decision.verdict != Verdict::kAllowed || !entrance.grpc_rules) return decision;
  return judge(grpc_, decision.route, value_of);
}

Decision Policy::judge_grpc(std::string_view path, const ValueOf& value_of,
                            const Entrance& entrance) const {
  const Decision decision = judge(grpc_, {.endpoint = find_method(path)}, value_of);
  if (decision.verdict != Verdict::kAllowed || !entrance.http_rules) return decision;
  return judge(http_, decision.route, value_of);
}

Decision Policy::judge(const Rules& rules, const Route& route, const ValueOf& value_of) {
  if (route.endpoint == nullptr) return {};
  const auto& rule = rules[static_cast<size_t>(route.endpoint->category)];
  if (!rule || same_secret(value_of(rule->header), rule->value)) return {Verdict::kAllowed, route};
  return {Verdict::kRestricted, route, rule->header};
}

}  // namespace pyserver::gateway
