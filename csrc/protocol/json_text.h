// Writing JSON the way Triton's answers look: RapidJSON's escapes and number formats, straight into a string.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pyserver::protocol {

// Most bytes that a number is written to; some of them may lie behind its end.
inline constexpr size_t kMaxNumberText = 48;

void append_json_string(std::string_view text, std::string* out);
void append_json_double(double value, std::string* out);
void append_json_integer(int64_t value, std::string* out);
void append_json_unsigned(uint64_t value, std::string* out);

// Writes to `at`, which has kMaxNumberText bytes, and returns the end. NaN and the infinities as Triton writes them.
char* write_json_double(double value, char* at);

}  // namespace pyserver::protocol
