// Who may call what: the one place where both protocols ask before anything else looks at a request.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/endpoints.h"
#include "gateway/entrance.h"
#include "gateway/settings.h"

namespace pyserver::gateway {

enum class Verdict : uint8_t {
  kAllowed,
  kRestricted,  // the category asks for a header, which is missing or wrong
  kUnknown,     // in no row of the table
};

struct Decision {
  Verdict verdict = Verdict::kUnknown;
  Route route;                   // of what is known
  std::string_view header = {};  // of kRestricted: the one that is expected
};

class Policy {
 public:
  // The value of a header by its name; empty when it is not there.
  using ValueOf = std::function<std::string_view(std::string_view)>;

  explicit Policy(const GatewaySettings& settings);

  Decision judge_http(std::string_view target, const ValueOf& value_of,
                      const Entrance& entrance = {}) const;
  Decision judge_grpc(std::string_view path, const ValueOf& value_of,
                      const Entrance& entrance = {}) const;

 private:
  // By category.
  using Rules = std::array<std::optional<Restriction>, std::size(kCategoryNames)>;

  static Rules make_rules(const std::map<std::string, Restriction, std::less<>>& restrictions,
                          std::string_view prefix);
  static Decision judge(const Rules& rules, const Route& route, const ValueOf& value_of);

  Rules http_;
  Rules grpc_;
};

}  // namespace pyserver::gateway
