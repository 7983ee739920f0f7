// Numbers with exponents, or with more digits than 64 bits have room for.
#include "protocol/json_decimal.h"

#include <charconv>
#include <limits>
#include <string_view>

namespace pyserver::protocol {

namespace {

const char* skip_digits(const char* at) {
  while (*at >= '0' && *at <= '9') ++at;
  return at;
}

// JSON's grammar, which is stricter than std::from_chars'. Null: it is no number.
const char* end_of_number(const char* at) {
  if (*at == '-') ++at;
  const char* end = skip_digits(at);
  if (end == at || (*at == '0' && end - at > 1)) return nullptr;
  if (*end == '.') {
    at = end + 1;
    end = skip_digits(at);
    if (end == at) return nullptr;
  }
  if (*end == 'e' || *end == 'E') {
    at = end + 1;
    if (*at == '+' || *at == '-') ++at;
    end = skip_digits(at);
    if (end == at) return nullptr;
  }
  return decimal::is_end(*end) ? end : nullptr;
}

const char* read_special(const char* at, double* value) {
  struct Special {
    std::string_view text;
    double value;
  };
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr Special kSpecials[] = {{"NaN", std::numeric_limits<double>::quiet_NaN()},
                                   {"Infinity", kInfinity},
                                   {"-Infinity", -kInfinity}};
  for (const Special& special : kSpecials) {
    if (std::strncmp(at, special.text.data(), special.text.size()) != 0) continue;
    at += special.text.size();
    *value = special.value;
    return decimal::is_end(*at) ? at : nullptr;
  }
  return nullptr;
}

}  // namespace

const char* read_any_number(const char* at, double* value) {
  const char* const end = end_of_number(at);
  if (end == nullptr) return read_special(at, value);
  const auto read = std::from_chars(at, end, *value);
  if (read.ec != std::errc() || read.ptr != end) return nullptr;
  // RapidJSON refuses 0e400 as too big, and rounds the smallest numbers its own way.
  if (*value == 0 && std::string_view(at, end).find_first_of("eE") != std::string_view::npos)
    return nullptr;
  return end;
}

}  // namespace pyserver::protocol
