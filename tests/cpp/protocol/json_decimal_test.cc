// Numbers read straight from the text, beside the standard library's reader.
#include "protocol/json_decimal.h"

#include <gtest/gtest.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace pyserver::protocol {
namespace {

// As in a document: something behind the number, and room behind that.
bool read(const std::string& token, double* value) {
  const std::string document = token + "," + std::string(16, '7');
  return read_decimal(document.data(), value) == document.data() + token.size();
}

void expect_same(const std::string& token) {
  double wanted = 0;
  const auto end = std::from_chars(token.data(), token.data() + token.size(), wanted);
  ASSERT_EQ(end.ptr, token.data() + token.size()) << token;
  double value = 0;
  ASSERT_TRUE(read(token, &value)) << token;
  EXPECT_EQ(value, wanted) << token;
}

TEST(JsonDecimal, EveryCountOfDigitsIsReadRight) {
  std::mt19937_64 random(1);
  for (size_t before = 1; before < 19; ++before) {
    for (size_t behind = 1; before + behind <= 19; ++behind) {
      for (int round = 0; round < 200; ++round) {
        std::string token = random() % 2 == 0 ? "-" : "";
        for (size_t index = 0; index < before + behind; ++index) {
          if (index == before) token += '.';
          token += static_cast<char>(index == 0 && before > 1 ? '1' + random() % 9
                                                              : '0' + random() % 10);
        }
        if (token.find_first_of("123456789") != std::string::npos) expect_same(token);
      }
    }
  }
}

TEST(JsonDecimal, PrintedNumbersAreReadAsTheyWere) {
  std::mt19937_64 random(2);
  std::normal_distribution<float> normal;
  for (int round = 0; round < 200'000; ++round) {
    const double number = normal(random);
    char text[64];
    const auto end = std::to_chars(text, text + sizeof text, number, std::chars_format::fixed);
    double value = 0;
    ASSERT_TRUE(read(std::string(text, end.ptr), &value)) << std::string(text, end.ptr);
    EXPECT_EQ(value, number) << text;
  }
}

TEST(JsonDecimal, WhatIsNotCommonIsReadToo) {
  for (const char* token :
       {"1.5e3", "1E3", "1e-7", "-2.5e+10", "1234567890123456789", "123456789012345678901234567890",
        "12345678901234567890.5", "0.22222222222222222222", "1234567.8901234567890", "5e-324",
        "1.7976931348623157e308", "0.000000000000000000000000000001", "9007199254740993.0"}) {
    const std::string document = std::string(token) + "]" + std::string(16, '7');
    double value = 0;
    EXPECT_EQ(read_number(document.data(), &value), document.data() + std::strlen(token)) << token;
    EXPECT_EQ(value, std::strtod(token, nullptr)) << token;
  }
  double value = 0;
  EXPECT_NE(read_number("NaN,              ", &value), nullptr);
  EXPECT_TRUE(std::isnan(value));
  EXPECT_NE(read_number("-Infinity]        ", &value), nullptr);
  EXPECT_EQ(value, -INFINITY);
}

TEST(JsonDecimal, WhatIsNoNumberIsNotTaken) {
  for (const char* token :
       {"",       "-",       ".5",        "-.5",  "1.",    "01.5", "-01.5", "01",    "1.5x",
        "1.x",    "1x",      "x.5",       "1..5", "1.5.5", "nan",  "null",  "+1.5",  " 1.5",
        "--1.5",  "1e",      "1e+",       "1.e5", "1e5.5", "0e0",  "0e400", "1e400", "-1e400",
        "1e-400", "Infinit", "Infinityy", "-NaN", "0x10",  "1_000"}) {
    const std::string document = std::string(token) + "," + std::string(16, '7');
    double value = 0;
    EXPECT_EQ(read_number(document.data(), &value), nullptr) << token;
  }
}

TEST(JsonDecimal, IntegersHaveNoNegativeZero) {
  double value = 0;
  for (const char* token : {"0", "1", "-1", "123456789012345678", "-999999999999999999"}) {
    ASSERT_TRUE(read(token, &value)) << token;
    EXPECT_EQ(value, std::strtod(token, nullptr)) << token;
  }
  ASSERT_TRUE(read("-0", &value));
  EXPECT_FALSE(std::signbit(value));
  ASSERT_TRUE(read("-0.0", &value));
  EXPECT_TRUE(std::signbit(value));
  ASSERT_TRUE(read("0.000", &value));
  EXPECT_FALSE(std::signbit(value));
}

std::vector<float> array_of(std::string text, size_t count, bool* good) {
  text += std::string(16, ']');
  std::vector<float> values(count);
  *good = read_numbers_of<float>(text.data(), 3, reinterpret_cast<uint8_t*>(values.data()), count);
  return values;
}

TEST(JsonDecimal, ArraysOfAnyShapeAreFlat) {
  const std::vector<float> wanted = {1.5, -2, 0.25, 4};
  for (const char* text : {"[1.5,-2,0.25,4]", " [ 1.5 ,\n-2\t, 0.25 , 4 ]", "[[1.5,-2],[0.25,4]]",
                           "[[[1.5],[-2]],[[0.25],[4.0]]]", "[1.5,[-2,[0.25]],4]",
                           "[[1.5,-2,0.25,4]]", "[[],[1.5,-2,[],0.25,4.0e0],[[]]]"}) {
    bool good = false;
    EXPECT_EQ(array_of(text, 4, &good), wanted) << text;
    EXPECT_TRUE(good) << text;
  }
}

TEST(JsonDecimal, ArraysThatAreNotRightAreNotTaken) {
  for (const char* text :
       {"", "1.5", "[]", "[1.5,-2,0.25]", "[1.5,-2,0.25,4,5]", "[1.5,-2,0.25,4,]",
        "[,1.5,-2,0.25,4]", "[1.5,,-2,0.25,4]", "[1.5 -2,0.25,4]", "[1.5,-2,0.25,null]",
        "[1.5,-2,0.25,\"4\"]", "[[[[1.5,-2,0.25,4]]]]", "[1.5,-2,0.25,{}]", "[1.5,-2,0.25,4}",
        "[1.5][-2,0.25,4]"}) {
    bool good = false;
    array_of(text, 4, &good);
    EXPECT_FALSE(good) << text;
  }
}

}  // namespace
}  // namespace pyserver::protocol
