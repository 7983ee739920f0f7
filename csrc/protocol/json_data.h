// The elements of a JSON tensor out of a parsed document.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/datatype.h"
#include "base/status.h"
#include "protocol/json_value.h"

namespace pyserver::protocol {

// Appends the tensor's bytes. `elements` is what the shape asks for; of BYTES any number is taken, their check comes later.
// Never holds more than is there, whatever the shape says.
base::Status read_json_data(std::string_view input, base::Datatype datatype, const JsonValue& data,
                            int64_t elements, std::vector<uint8_t>* bytes);

// How many bytes a BYTES tensor will take: the sum of its strings and their prefixes.
base::Status json_strings_byte_size(const JsonValue& data, uint64_t* bytes);

}  // namespace pyserver::protocol
