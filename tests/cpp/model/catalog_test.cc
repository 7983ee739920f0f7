// Core's announcements, and which version a request gets.
#include <gtest/gtest.h>

#include <string>

#include "model/catalog.h"

namespace pyserver::model {
namespace {

std::string version(int64_t number, const std::string& state) {
  const std::string spec =
      state == "READY"
          ? R"({"max_batch_size":8,"decoupled":false,"inputs":[{"name":"IN","datatype":"FP32","dims":[-1,4],)"
            R"("reshape":[4,-1],"optional":true,"ragged":true,"shape_tensor":false}],"outputs":[{"name":"OUT",)"
            R"("datatype":"BYTES","dims":[1],"reshape":null,"labels":["cat","dog"]}],)"
            R"("sequence":{"correlation_datatype":"STRING"}})"
          : "null";
  return R"({"version":)" + std::to_string(number) + R"(,"handle":)" +
         std::to_string(100 + number) + R"(,"state":")" + state + R"(","spec":)" + spec + "}";
}

std::string entry(const std::string& versions) {
  return R"({"op":"model","name":"m","versions":[)" + versions + "]}";
}

class CatalogTest : public ::testing::Test {
 protected:
  std::string find(std::string_view name, std::string_view version_text) {
    model = nullptr;
    const base::Status status = catalog.find(name, version_text, &model);
    code = status.code();
    return status.ok() ? "version " + model->version_text : status.message();
  }
  Catalog catalog;
  std::shared_ptr<const ModelSpec> model;
  base::Code code = base::Code::kUnknown;
};

TEST_F(CatalogTest, ReadsTheWholeSpec) {
  ASSERT_EQ(catalog.apply(entry(version(3, "READY"))).message(), "");
  ASSERT_EQ(find("m", "3"), "version 3");
  EXPECT_EQ(model->name, "m");
  EXPECT_EQ(model->handle, 103u);
  EXPECT_EQ(model->max_batch_size, 8);
  EXPECT_TRUE(model->sequence);
  EXPECT_EQ(model->correlation_datatype, base::Datatype::kBytes);
  ASSERT_EQ(model->inputs.size(), 1u);
  EXPECT_EQ(model->inputs[0].dims, (std::vector<int64_t>{-1, 4}));
  EXPECT_EQ(model->inputs[0].reshape, (std::vector<int64_t>{4, -1}));
  EXPECT_TRUE(model->inputs[0].optional);
  EXPECT_TRUE(model->inputs[0].ragged);
  EXPECT_FALSE(model->inputs[0].shape_tensor);
  EXPECT_EQ(model->outputs[0].labels, (std::vector<std::string>{"cat", "dog"}));
  EXPECT_FALSE(model->outputs[0].reshape.has_value());
  EXPECT_EQ(model->input_index("IN"), 0);
  EXPECT_EQ(model->input_index("IN", 9), 0);
  EXPECT_EQ(model->output_index("IN"), -1);
}

TEST_F(CatalogTest, TheNewestReadyVersionServesThoseWhoNameNone) {
  ASSERT_TRUE(catalog
                  .apply(entry(version(2, "READY") + "," + version(9, "LOADING") + "," +
                               version(1, "READY")))
                  .ok());
  EXPECT_EQ(find("m", ""), "version 2");
  EXPECT_EQ(find("m", "1"), "version 1");
  EXPECT_EQ(find("m", "9"), "Request for unknown model: 'm' version 9 is not at ready state");
  EXPECT_EQ(code, base::Code::kUnavailable);
  EXPECT_EQ(find("m", "4"), "Request for unknown model: 'm' version 4 is not found");
  EXPECT_EQ(code, base::Code::kNotFound);
  EXPECT_EQ(find("m", "0"), "Request for unknown model: 'm' version 0 is not found");
  EXPECT_EQ(find("x", ""), "Request for unknown model: 'x' is not found");
  EXPECT_EQ(code, base::Code::kNotFound);
}

TEST_F(CatalogTest, WithoutAReadyVersionThereIsNone) {
  ASSERT_TRUE(catalog.apply(entry(version(1, "UNAVAILABLE") + "," + version(2, "UNLOADING"))).ok());
  EXPECT_EQ(find("m", ""), "Request for unknown model: 'm' has no available versions");
  EXPECT_EQ(code, base::Code::kNotFound);
  ASSERT_TRUE(catalog.apply(entry("")).ok());
  EXPECT_EQ(find("m", ""), "Request for unknown model: 'm' has no available versions");
  EXPECT_EQ(find("m", "1"), "Request for unknown model: 'm' version 1 is not found");
}

TEST_F(CatalogTest, ANameOfSeveralModelsIsAmbiguous) {
  ASSERT_TRUE(catalog.apply(R"({"op":"model","name":"m","namesakes":2,"versions":[]})").ok());
  EXPECT_EQ(find("m", "1"),
            "There are 2 identifiers of model 'm' in global map, model namespace must be provided "
            "to resolve ambiguity.");
  EXPECT_EQ(code, base::Code::kInvalidArgument);
  std::string one = entry(version(1, "READY"));
  one.replace(one.find("\"name\":\"m\""), 10, R"("name":"/r/m","shown":"m")");
  ASSERT_TRUE(catalog.apply(one).ok());
  EXPECT_EQ(find("/r/m", ""), "version 1");
  EXPECT_EQ(model->name, "m");
}

TEST_F(CatalogTest, AnEntryReplacesAndAHolderKeepsTheOldOne) {
  ASSERT_TRUE(catalog.apply(entry(version(1, "READY"))).ok());
  ASSERT_EQ(find("m", ""), "version 1");
  const std::shared_ptr<const ModelSpec> held = model;
  ASSERT_TRUE(catalog.apply(entry(version(2, "READY"))).ok());
  EXPECT_EQ(find("m", ""), "version 2");
  EXPECT_EQ(held->version, 1);
  catalog.forget("m");
  catalog.forget("never known");
  EXPECT_EQ(find("m", ""), "Request for unknown model: 'm' is not found");
  EXPECT_EQ(catalog.size(), 0u);
}

TEST_F(CatalogTest, MalformedEntriesChangeNothing) {
  ASSERT_TRUE(catalog.apply(entry(version(1, "READY"))).ok());
  const std::string good = entry(version(2, "READY"));
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(catalog.apply(good.substr(0, size)).ok()) << size;
  }
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"\"FP32\"", "\"FP33\""},
           {"[-1,4]", "[-2,4]"},
           {"[4,-1]", "[4,4]"},
           {"\"version\":2", "\"version\":0"},
           {"102", "4294967296"},
           {"\"max_batch_size\":8", "\"max_batch_size\":-1"},
           {"true", "1"},
           {"\"inputs\"", "\"input\""}}) {
    std::string bad = good;
    bad.replace(bad.find(from), from.size(), to);
    EXPECT_FALSE(catalog.apply(bad).ok()) << bad;
  }
  EXPECT_EQ(find("m", ""), "version 1");
}

TEST(Versions, TextsAsTritonReadsThem) {
  int64_t number = 0;
  EXPECT_TRUE(parse_version("", &number).ok());
  EXPECT_EQ(number, -1);
  EXPECT_TRUE(parse_version("007", &number).ok());
  EXPECT_EQ(number, 7);
  EXPECT_EQ(parse_version("9223372036854775808", &number).message(),
            "failed to get model version from specified version string '9223372036854775808' "
            "(details: stol), version "
            "should be an integral value > 0");
  EXPECT_EQ(parse_version("x", &number).code(), base::Code::kInvalidArgument);
  EXPECT_EQ(parse_version("-3", &number).message(),
            "invalid model version specified '-3' , version should be an integral value > 0");
}

TEST_F(CatalogTest, TellsWhatCanBeLoadedAsLongAsNothingOfItServes) {
  EXPECT_FALSE(catalog.loadable("m"));
  const uint64_t before = catalog.epoch();
  ASSERT_TRUE(catalog.apply(R"({"name":"m","versions":[],"loadable":true})").ok());
  EXPECT_NE(catalog.epoch(), before);
  EXPECT_TRUE(catalog.loadable("m"));
  EXPECT_EQ(find("m", ""), "Request for unknown model: 'm' has no available versions");
  std::string served = entry(version(1, "READY"));
  served.insert(served.size() - 1, R"(,"loadable":true)");
  ASSERT_TRUE(catalog.apply(served).ok());
  EXPECT_FALSE(catalog.loadable("m"));
  EXPECT_FALSE(catalog.apply(R"({"name":"m","versions":[],"loadable":1})").ok());
  catalog.forget("m");
  EXPECT_FALSE(catalog.loadable("m"));
}

}  // namespace
}  // namespace pyserver::model
