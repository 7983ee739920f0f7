// JSON's numbers as doubles, and arrays of them straight from the text. The common ones, -?digits or -?digits.digits, are read eight
// digits at a time; values are always the nearest doubles.
//
// The text must be part of a document that simdjson has indexed: its encoding is right, and at least eight bytes behind it may be read.
// (simdjson 3.0's own reader is slower, and wrong for numbers of more than 19 digits that begin with "0.".)
#pragma once

#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include <bit>
#include <cstdint>
#include <cstring>

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

// Neighbours are put together three times: digits to pairs, to fours, to eight. Zero bytes count as the digit 0.
inline uint64_t number_of(uint64_t eight) {
  eight = (eight & 0x0F0F0F0F0F0F0F0F) * (1 + (10 << 8)) >> 8;
  eight = (eight & 0x00FF00FF00FF00FF) * (1 + (100 << 16)) >> 16;
  return (eight & 0x0000FFFF0000FFFF) * (1 + (uint64_t{10000} << 32)) >> 32;
}

// Appends the digits at `at` to `number`, modulo 2^64, and returns their end.
inline const char* read_digits(const char* at, uint64_t* number) {
  for (;;) {
    uint64_t eight;
    std::memcpy(&eight, at, sizeof eight);
    const int count = leading_digits(eight);
    if (count == 8) {
      *number = *number * 100'000'000 + number_of(eight);
      at += 8;
      continue;
    }
    if (count != 0) *number = *number * kPowers[count] + number_of(eight << (8 * (8 - count)));
    return at + count;
  }
}

inline bool is_blank(char byte) {
  return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

// Of what may stand behind a number.
inline bool is_end(char byte) {
  return byte == ',' || byte == ']' || byte == '}' || is_blank(byte);
}

inline const char* skip_blanks(const char* at) {
  while (is_blank(*at)) ++at;
  return at;
}

}  // namespace decimal

// Returns the end of the number, or null: it is none, or not a common one.
[[gnu::always_inline]] inline const char* read_decimal(const char* at, double* value) {
  constexpr ptrdiff_t kMostDigits = 19;         // of any of these 64 bits have room for
  constexpr ptrdiff_t kMostIntegerDigits = 18;  // and 63 for these
  const bool negative = *at == '-';
  const char* const first = at + (negative ? 1 : 0);
  uint64_t digits = 0;
  const char* const point = decimal::read_digits(first, &digits);
  const ptrdiff_t before = point - first;
  if (before == 0 || (*first == '0' && before > 1)) return nullptr;
  const char* end = point;
  if (*point != '.') {
    // To Triton an integer is an integer, and there is no negative zero among those.
    if (before > kMostIntegerDigits) return nullptr;
    const auto whole = static_cast<int64_t>(digits);
    *value = static_cast<double>(negative ? -whole : whole);
  } else {
    end = decimal::read_digits(point + 1, &digits);
    const ptrdiff_t behind = end - point - 1;
    if (behind == 0) return nullptr;
    if (before + behind > kMostDigits) {
      if (*first != '0') return nullptr;
      const char* significant = point + 1;
      while (significant != end && *significant == '0') ++significant;
      if (end - significant > kMostDigits) return nullptr;
    }
    if (digits == 0) {
      *value = negative ? -0.0 : 0.0;
    } else if (!simdjson::SIMDJSON_BUILTIN_IMPLEMENTATION::numberparsing::compute_float_64(
                   -behind, digits, negative, *value)) {
      return nullptr;
    }
  }
  return decimal::is_end(*end) ? end : nullptr;
}

// As read_decimal(), of any number that JSON has, and NaN and the infinities as Triton writes them. Null is "not sure": RapidJSON, which
// is Triton's reader, shall judge what is too large or small, since it does so in its own way.
const char* read_any_number(const char* at, double* value);

[[gnu::always_inline]] inline const char* read_number(const char* at, double* value) {
  const char* const end = read_decimal(at, value);
  return end != nullptr ? end : read_any_number(at, value);
}

// An array of numbers, or of such arrays, at most `depth` deep, into exactly `count` elements. False: not sure.
template <typename T>
[[gnu::always_inline]] inline bool read_numbers_of(const char* at, size_t depth, uint8_t* memory,
                                                   uint64_t count) {
  size_t inside = 0;
  for (;;) {
    at = decimal::skip_blanks(at);
    if (*at == '[') {
      if (++inside > depth) return false;
      at = decimal::skip_blanks(at + 1);
      if (*at != ']') continue;
    } else {
      double number = 0;
      if (count == 0 || inside == 0 || (at = read_number(at, &number)) == nullptr) return false;
      const T element = static_cast<T>(number);
      std::memcpy(memory, &element, sizeof element);
      memory += sizeof element;
      --count;
    }
    for (;;) {
      at = decimal::skip_blanks(at);
      if (*at == ',') break;
      if (*at != ']') return false;
      ++at;
      if (--inside == 0) return count == 0;
    }
    at = decimal::skip_blanks(at + 1);
    if (*at == ']') return false;
  }
}

}  // namespace pyserver::protocol
