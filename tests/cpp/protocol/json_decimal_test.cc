// Plain decimals, read eight digits at a time, beside the standard library's reader.
#include "protocol/json_decimal.h"

#include <gtest/gtest.h>

#include <charconv>
#include <random>
#include <string>
#include <vector>

namespace pyserver::protocol {
namespace {

// As in a document: something behind the token, and room behind that.
bool read(const std::string& token, double* value) {
  const std::string document = token + "," + std::string(16, '7');
  return read_plain_decimal(std::string_view(document).substr(0, token.size()), value);
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
    if (read(std::string(text, end.ptr), &value)) {
      EXPECT_EQ(value, number) << text;
    }
  }
}

TEST(JsonDecimal, WhatIsUnusualIsLeftToOthers) {
  for (const char* token : {"",
                            "-",
                            "1",
                            "-1",
                            "0",
                            ".5",
                            "-.5",
                            "1.",
                            "01.5",
                            "-01.5",
                            "1.5e3",
                            "1e3",
                            "1.5x",
                            "1.x",
                            "x.5",
                            "0.0",
                            "-0.0",
                            "1..5",
                            "1.5.5",
                            "NaN",
                            "null",
                            "+1.5",
                            " 1.5",
                            "1,5",
                            "--1.5",
                            "12345678901234567890.5",
                            "0.22222222222222222222",
                            "1234567.8901234567890"}) {
    double value = 0;
    EXPECT_FALSE(read(token, &value)) << token;
  }
}

}  // namespace
}  // namespace pyserver::protocol
