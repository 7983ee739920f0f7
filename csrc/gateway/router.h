// Which requests the gateway answers itself. Paths are matched raw, still percent-encoded, without their query, as Triton does.
#pragma once

#include <cstdint>
#include <string_view>

namespace pyserver::gateway {

enum class RouteKind : uint8_t { kProxy, kInfer, kLive };

struct Route {
  RouteKind kind = RouteKind::kProxy;
  std::string_view model;    // of kInfer; points into the target
  std::string_view version;  // its digits, or empty
};

Route find_route(std::string_view target);

// The category of the API that a path belongs to, in the words of --http-restricted-api; empty: none.
std::string_view category_of(std::string_view target);

}  // namespace pyserver::gateway
