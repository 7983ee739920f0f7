// Grisu2 (Loitsch, "Printing floating-point numbers quickly and accurately with integers", 2010) without its loop over digits.
//
// Triton's clients see RapidJSON's digits, which are Grisu2's: mostly the shortest, once in a thousand numbers not. So another
// algorithm would not do, but the same result can be had sooner. Grisu2 scales the number and the bounds of what reads back as it to
// fixed point, integral.fraction, and takes one digit after the other from the upper bound until what is left is below delta,
// the distance of the bounds. Whether digit n is the last is monotonic in n: once what is left is below delta it stays so.
// Hence the last one is found near a guess, and all digits are one multiplication.
#include <rapidjson/internal/dtoa.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/processor.h"
#include "protocol/json_text.h"

namespace pyserver::protocol {

namespace {

using rapidjson::internal::DiyFp;
__extension__ typedef unsigned __int128 Wide;

constexpr std::array<uint64_t, 20> kPowers = [] {
  std::array<uint64_t, 20> table{};
  uint64_t power = 1;
  for (uint64_t& entry : table) {
    entry = power;
    power *= 10;
  }
  return table;
}();

// RapidJSON's table of powers ends here; for longer fractions it does not round.
constexpr int kRoundedFraction = 9;

// `digits` * 10^`exponent` is the number.
struct Decimal {
  uint64_t digits;
  int exponent;
};

// How many digits of the fraction Grisu2 takes: the least count after which what is left is below delta. `fraction` and
// `delta` are below 2^`point`, and delta is not more than the fraction. Only bits below 2^64 count, and there are no others: of the
// products of a fraction their rest, and those of delta are below 2^(point + 1).
[[gnu::always_inline]] inline int fraction_digits(uint64_t fraction, uint64_t delta, int point) {
  const uint64_t rest_bits = (uint64_t{1} << point) - 1;
  const auto ends = [&](int count) {
    const uint64_t power = kPowers[static_cast<size_t>(count)];
    return ((fraction * power) & rest_bits) < delta * power;
  };
  // delta * 10^count >= 2^point ends it for certain; a power of two has 0.30103 digits.
  int count = ((point - static_cast<int>(std::bit_width(delta)) + 1) * 1233 >> 12) + 1;
  // Mostly one to three too many; all are tried, since which one it is no processor can guess. (delta has few bits, and the point is
  // not before the 32nd, so there are more digits than that.)
  count -= ends(count - 1) + ends(count - 2) + ends(count - 3);
  while (count > 1 && ends(count - 1)) --count;
  return count;
}

// False for subnormal numbers, and where the integral digits alone may do: then RapidJSON's loop is short. `bits` are those of a
// finite number above 0.
[[gnu::always_inline]] inline bool grisu2(uint64_t bits, Decimal* decimal) {
  constexpr int kSignificandBits = 52;
  constexpr int kBias = 1023 + kSignificandBits;
  constexpr uint64_t kHidden = uint64_t{1} << kSignificandBits;
  const auto biased = static_cast<int>(bits >> kSignificandBits);
  if (biased == 0) return false;
  const uint64_t significand = (bits & (kHidden - 1)) | kHidden;
  // With the first bit of the 64 set; a power of two has its lower neighbour nearer.
  const int binary = biased - kBias - 11;
  // RapidJSON's choice among its powers of ten, every eighth of which it has; 78913 / 2^18 is log10(2).
  const int wanted = (((-61 - binary) * 78913 + (1 << 18) - 1) >> 18) + 347;
  const int index = (wanted >> 3) + 1;
  const int exponent = 348 - 8 * index;
  const DiyFp power = rapidjson::internal::GetCachedPowerByIndex(static_cast<size_t>(index));
  const uint64_t below =
      significand == kHidden ? (4 * significand - 1) << 9 : (2 * significand - 1) << 10;
  const DiyFp middle = DiyFp(significand << 11, binary) * power;
  // A unit less on both sides, for what the multiplications have cut off.
  const uint64_t upper = (DiyFp((2 * significand + 1) << 10, binary) * power).f - 1;
  const uint64_t lower = (DiyFp(below, binary) * power).f + 1;
  const uint64_t delta = upper - lower;
  const int point = -middle.e;
  const uint64_t one = uint64_t{1} << point;
  const uint64_t integral = upper >> point;
  const uint64_t fraction = upper & (one - 1);
  if (fraction <= delta) return false;

  const int count = fraction_digits(fraction, delta, point);
  const uint64_t scale = kPowers[static_cast<size_t>(count)];
  const Wide scaled = Wide{fraction} * scale;
  uint64_t digits = integral * scale + static_cast<uint64_t>(scaled >> point);
  if (count < kRoundedFraction) {
    // Towards the middle, as long as that brings it nearer.
    uint64_t rest = static_cast<uint64_t>(scaled) & (one - 1);
    const uint64_t bound = delta * scale;
    const uint64_t goal = (upper - middle.f) * scale;
    while (rest < goal && bound - rest >= one &&
           (rest + one < goal || goal - rest > rest + one - goal)) {
      --digits;
      rest += one;
    }
  }
  *decimal = {digits, exponent - count};
  return true;
}

// The digits of a number below 10^8 as eight characters, the first in the lowest byte: taken apart three times, to fours, pairs and
// digits, all parts at once. The divisions are multiplications that are exact in these ranges.
[[gnu::always_inline]] inline uint64_t eight_digits(uint32_t number) {
  const uint64_t fours = number / 10000 | uint64_t{number % 10000} << 32;
  const uint64_t hundreds = (fours * 10486 >> 20) & 0x0000007F0000007F;
  const uint64_t pairs = hundreds | (fours - 100 * hundreds) << 16;
  const uint64_t tens = (pairs * 103 >> 10) & 0x000F000F000F000F;
  return (tens | (pairs - 10 * tens) << 8) + 0x3030303030303030;
}

[[gnu::always_inline]] inline int digits_of(uint64_t number) {
  const auto guess = static_cast<size_t>(std::bit_width(number) * 1233 >> 12);
  return static_cast<int>(guess) + (number >= kPowers[guess] ? 1 : 0);
}

// All 17 digits that Grisu2 has at most, leading zeros too.
[[gnu::always_inline]] inline void write_digits(uint64_t number, char* at) {
  constexpr uint64_t kEight = 100'000'000;
  const uint64_t high = number / kEight;
  const auto first = static_cast<uint32_t>(high / kEight);
  const uint64_t parts[] = {eight_digits(static_cast<uint32_t>(high - first * kEight)),
                            eight_digits(static_cast<uint32_t>(number % kEight))};
  *at = static_cast<char>('0' + first);
  std::memcpy(at + 1, parts, sizeof parts);
}

// As RapidJSON lays a number out: 1.23 or 0.00123; by its own Prettify() what is not so common. Copies have a fixed length, which
// is cheaper, so some of what is behind the end is written too.
[[gnu::always_inline]] inline char* write_decimal(const Decimal& decimal, char* at) {
  constexpr int kZeros = 7;  // in front of the digits
  constexpr int kMost = 17;
  constexpr int kAllPlaces = 324;
  char text[2 * (kZeros + kMost)] = "0000000";
  write_digits(decimal.digits, text + kZeros);
  const int length = digits_of(decimal.digits);
  const char* first = text + kZeros + kMost - length;
  int before = length + decimal.exponent;  // digits before the point
  if (decimal.exponent < 0 && before > -6) {
    // One of the zeros before the point where there is no other digit, the others behind it. No jump: it could not be guessed.
    const int zeros = before <= 0 ? 1 - before : 0;
    first -= zeros;
    before += zeros;
    std::memcpy(at, first, kMost);
    at[before] = '.';
    std::memcpy(at + before + 1, first + before, kZeros + kMost);
    return at + zeros + length + 1;
  }
  std::memcpy(at, first, kMost);
  return rapidjson::internal::Prettify(at, length, decimal.exponent, kAllPlaces);
}

char* copy_literal(std::string_view literal, char* at) {
  std::memcpy(at, literal.data(), literal.size());
  return at + literal.size();
}

// Null: RapidJSON shall.
[[gnu::always_inline]] inline char* write_normal(double value, char* at) {
  Decimal decimal;
  if (!grisu2(std::bit_cast<uint64_t>(std::fabs(value)), &decimal)) return nullptr;
  *at = '-';
  return write_decimal(decimal, at + (std::signbit(value) ? 1 : 0));
}

PYSERVER_WITH_BMI2 char* write_normal_with_bmi2(double value, char* at) {
  return write_normal(value, at);
}

}  // namespace

char* write_json_double(double value, char* at) {
  if (std::isnan(value)) return copy_literal("NaN", at);
  if (std::isinf(value)) return copy_literal(value < 0 ? "-Infinity" : "Infinity", at);
  char* end = nullptr;
  if (value != 0) {
    end = base::kHasBmi2 ? write_normal_with_bmi2(value, at) : write_normal(value, at);
  }
  return end != nullptr ? end : rapidjson::internal::dtoa(value, at);
}

}  // namespace pyserver::protocol
