// Escaped: simdjson 3.0 reads numbers of more than 19 digits that begin with "0." as something else altogether; found by http_json_fuzz.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "protocol/bench_of_bodies.h"

namespace pyserver::protocol {
namespace {

TEST(LongNumbers, AreReadAsTheyAreWritten) {
  const std::vector<std::string> numbers = {
      "0.22222222222222222222",
      "-0.45058409532776336117",
      "0.222222222222222222222222222220",
      "0.446543405680079416e-1",
      "0.0019048479699021827475",
      "0.571663067589632352167e+2",
      "1.2222222222222222222222",
      "123456789.01234567890123",
      "0.5",
      "-0",
      "1e3",
  };
  std::string list;
  for (const std::string& number : numbers) list += (list.empty() ? "" : ",") + number;
  BenchOfBodies bench;
  const std::string body = R"({"inputs":[{"name":"IN","datatype":"FP64","shape":[)" +
                           std::to_string(numbers.size()) + R"(],"data":[)" + list + "]}]}";
  ASSERT_TRUE(bench.decode(any_model(base::Datatype::kFp64), body).ok());
  const std::vector<double> read = bench.input_values<double>(0);
  ASSERT_EQ(read.size(), numbers.size());
  for (size_t index = 0; index < numbers.size(); ++index) {
    EXPECT_DOUBLE_EQ(read[index], std::strtod(numbers[index].c_str(), nullptr)) << numbers[index];
  }
}

}  // namespace
}  // namespace pyserver::protocol
