// The commonest numbers of JSON tensors, read eight digits at a time: -?digits.digits without an exponent, which is how floats are
// printed. The value is the nearest double, as simdjson's own (and slower) reader has it; what is in any way unusual is left to that.
#pragma once

#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace pyserver::protocol {

namespace decimal {

inline constexpr uint64_t kPowers[] = {1, 10, 100, 1000, 10'000, 100'000, 1'000'000, 10'000'000};

// How many digits the eight characters begin with.
inline int leading_digits(uint64_t eight) {
  const uint64_t values = eight ^ 0x3030303030303030;
  // Above 9 the sum has its upper bit, or had it before; what is carried on only reaches characters behind.
  const uint64_t others = ((values + 0x7676767676767676) | values) & 0x8080808080808080;
  return others == 0 ? 8 : std::countr_zero(others) / 8;
}

// Neighbours are put together three times: digits to pairs, to fours, to eight.
inline uint64_t number_of(uint64_t eight) {
  eight = (eight & 0x0F0F0F0F0F0F0F0F) * (1 + (10 << 8)) >> 8;
  eight = (eight & 0x00FF00FF00FF00FF) * (1 + (100 << 16)) >> 16;
  return (eight & 0x0000FFFF0000FFFF) * (1 + (uint64_t{10000} << 32)) >> 32;
}

// Adds the digits at `at` to `number` and returns their end.
inline const char* read_digits(const char* at, uint64_t* number) {
  for (;;) {
    uint64_t eight;
    std::memcpy(&eight, at, sizeof eight);
    const int count = leading_digits(eight);
    if (count == 0) return at;
    if (count < 8) {
      *number = *number * kPowers[count] + number_of(eight << (8 * (8 - count)));
      return at + count;
    }
    *number = *number * 100'000'000 + number_of(eight);
    at += 8;
  }
}

}  // namespace decimal

// False: not such a number, or one that needs more care. Eight bytes behind the token are read too, as simdjson pads its input; they
// begin with no digit.
inline bool read_plain_decimal(std::string_view token, double* value) {
  constexpr ptrdiff_t kMostDigits = 19;  // of any of these 64 bits have room for
  const char* const end = token.data() + token.size();
  const char* const first = token.data() + (token.starts_with('-') ? 1 : 0);
  if (end - first > kMostDigits + 1) return false;
  uint64_t digits = 0;
  const char* const point = decimal::read_digits(first, &digits);
  if (point == first || point == end || *point != '.' || (*first == '0' && point - first > 1))
    return false;
  const char* const last = decimal::read_digits(point + 1, &digits);
  if (last != end || last == point + 1 || digits == 0) return false;
  return simdjson::SIMDJSON_BUILTIN_IMPLEMENTATION::numberparsing::compute_float_64(
      -(end - point - 1), digits, first != token.data(), *value);
}

}  // namespace pyserver::protocol
