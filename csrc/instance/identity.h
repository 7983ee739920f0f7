// The identity backend: OUTPUT<n> answers INPUT<n>, and the whole loop stays in C++.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "instance/executor.h"

namespace pyserver::instance {

struct IdentityPair {
  std::string input;
  std::string output;
  uint16_t output_index = 0;  // in the model config
};

struct IdentityOptions {
  std::vector<IdentityPair> pairs;
  uint64_t execute_delay_ms = 0;
};

// Runs until stop(); the answers refer to the requests' own bytes, so no tensor is copied or even
// read. Request parameters come back as response parameters. Returns an error when core's ring
// cannot be believed any more.
base::Status run_identity(Executor& executor, const IdentityOptions& options);

}  // namespace pyserver::instance
