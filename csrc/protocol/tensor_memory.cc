// What is said when a tensor's bytes cannot be had.
#include "protocol/tensor_memory.h"

#include <string>

namespace pyserver::protocol {

base::Status out_of_tensor_memory(std::string_view input, uint64_t bytes) {
  return base::unavailable("the memory for requests is full: no room for the " +
                           std::to_string(bytes) + " bytes of input '" + std::string(input) +
                           "'; try again later");
}

base::Status no_region(std::string_view region) {
  return base::not_found("Unable to find shared memory region: '" + std::string(region) + "'");
}

}  // namespace pyserver::protocol
