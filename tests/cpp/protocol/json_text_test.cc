// Our numbers and strings beside RapidJSON's Writer, which Triton uses.
#include <gtest/gtest.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <bit>
#include <cmath>
#include <random>
#include <string>

#include "protocol/json_text.h"

namespace pyserver::protocol {
namespace {

using Writer = rapidjson::Writer<rapidjson::StringBuffer, rapidjson::UTF8<>, rapidjson::UTF8<>,
                                 rapidjson::CrtAllocator, rapidjson::kWriteNanAndInfFlag>;

void expect_same_double(double value) {
  rapidjson::StringBuffer buffer;
  Writer writer(buffer);
  writer.Double(value);
  std::string ours;
  append_json_double(value, &ours);
  EXPECT_EQ(ours, buffer.GetString());
  if (!std::isnan(value)) {
    EXPECT_EQ(std::strtod(ours.c_str(), nullptr), value) << ours;
  }
}

TEST(JsonText, DoublesLikeRapidJson) {
  for (const double value : {0.0, -0.0, 1.0, -1.0, 0.1, 1e-5, 1e-6, 9.99e-7, 1e-7, 1e20, 1e21,
                             1.5e22, 123456789012345680.0, 5e-324, 2.2250738585072014e-308,
                             1.7976931348623157e308, 1.0 / 3, 1e100}) {
    expect_same_double(value);
    expect_same_double(-value);
  }
  expect_same_double(NAN);
  expect_same_double(INFINITY);
  expect_same_double(-INFINITY);
  std::mt19937_64 random(1);
  for (int round = 0; round < 200'000; ++round) {
    const double any = std::bit_cast<double>(random());
    if (std::isfinite(any)) expect_same_double(any);
    const float narrow = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (std::isfinite(narrow)) expect_same_double(narrow);
    expect_same_double(static_cast<double>(static_cast<int64_t>(random())) / 1000);
    expect_same_double(static_cast<double>(random() >> 11) * 0x1p-53);
    expect_same_double(static_cast<double>(random() >> 44) / 100);
  }
}

// Where a decimal digit or a binary one comes or goes.
TEST(JsonText, DoublesAtTheEdgesLikeRapidJson) {
  for (int power = -1074; power < 1024; ++power) {
    const double two = std::ldexp(1.0, power);
    for (const double value :
         {two, std::nextafter(two, 0.0), std::nextafter(two, 2 * two), 3 * two})
      if (std::isfinite(value)) expect_same_double(value);
  }
  for (int power = -30; power < 30; ++power) {
    for (const double digits : {1.0, 1.5, 9.0, 9.99, 1.000001, 2.345678901234567}) {
      const double value = digits * std::pow(10.0, power);
      for (const double near : {value, std::nextafter(value, 0.0), std::nextafter(value, 1e300)}) {
        expect_same_double(near);
        expect_same_double(-near);
        expect_same_double(static_cast<float>(near));
      }
    }
  }
}

TEST(JsonText, IntegersLikeRapidJson) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 10'000; ++round) {
    const uint64_t value = random() >> (round % 64);
    rapidjson::StringBuffer buffer;
    Writer writer(buffer);
    writer.StartArray();
    writer.Uint64(value);
    writer.Int64(static_cast<int64_t>(value));
    writer.EndArray();
    std::string ours = "[";
    append_json_unsigned(value, &ours);
    ours += ',';
    append_json_integer(static_cast<int64_t>(value), &ours);
    EXPECT_EQ(ours + "]", buffer.GetString());
  }
}

TEST(JsonText, StringsLikeRapidJson) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 5'000; ++round) {
    std::string text;
    for (size_t left = random() % 20; left > 0; --left) {
      text += static_cast<char>(round % 2 == 0 ? random() % 128 : random() % 256);
    }
    rapidjson::StringBuffer buffer;
    Writer writer(buffer);
    writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
    std::string ours;
    append_json_string(text, &ours);
    EXPECT_EQ(ours, std::string(buffer.GetString(), buffer.GetSize()));
  }
}

}  // namespace
}  // namespace pyserver::protocol
