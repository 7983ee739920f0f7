// To which category of the API a gRPC method belongs, for --grpc-restricted-protocol (spec 2.1).
#pragma once

#include <string_view>

namespace pyserver::gateway::h2 {

// Of a call's path; empty for what is in no category.
std::string_view category_of_method(std::string_view path);

}  // namespace pyserver::gateway::h2
