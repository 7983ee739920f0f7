// The elements of a response's tensor as a flat JSON array.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/datatype.h"
#include "base/status.h"

namespace pyserver::protocol {

// As element_count(), but a tensor without dimensions has one element.
std::optional<uint64_t> response_elements(std::span<const int64_t> shape);

base::Status size_mismatch(std::string_view output);

// Appends "[1.0,2.0]". The bytes may lie in another process's memory: lengths in them are read once and checked.
base::Status append_json_data(std::string_view output, base::Datatype datatype,
                              std::span<const int64_t> shape, std::span<const uint8_t> bytes,
                              std::string* json);

}  // namespace pyserver::protocol
