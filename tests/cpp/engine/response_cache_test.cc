// The response cache by itself: keys, what is kept and found, and for how long.
#include "engine/response_cache.h"

#include "engine/harness.h"
#include "shm/cache_key.h"

namespace pyserver::engine {
namespace {

// --- the key ---

struct Asked {
  std::string name = "X";
  base::Datatype datatype = base::Datatype::kInt32;
  std::vector<int64_t> shape = {1, 2};
  std::vector<uint8_t> bytes = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<std::string> outputs;
  std::vector<shm::Parameter> parameters;
  uint64_t correlation_id = 0;
  std::string request_id;
  uint64_t seed = 7;
};

std::pair<uint64_t, uint64_t> key_of(const Asked& asked) {
  shm::RequestBuilder table;
  table.header.correlation_id = asked.correlation_id;
  table.set_request_id(asked.request_id);
  table.add_input(asked.name, 0, asked.datatype, asked.shape,
                  {shm::Place::kRegion, 1, 0, asked.bytes.size()});
  for (const std::string& output : asked.outputs) table.add_output(output, 0);
  for (const shm::Parameter& parameter : asked.parameters) table.add_parameter(parameter);
  shm::set_cache_key(
      asked.seed, [&](const shm::TensorEntry&) { return std::span<const uint8_t>(asked.bytes); },
      &table);
  return {table.header.cache_key[0], table.header.cache_key[1]};
}

TEST(CacheKey, EqualBytesInAnotherShapeOrDatatypeAreAnotherRequest) {
  const Asked plain;
  std::vector<Asked> others(12);
  others[0].shape = {2, 1};
  others[1].shape = {2};
  others[2].datatype = base::Datatype::kFp32;
  others[3].name = "Y";
  others[4].bytes[7] = 9;
  others[5].outputs = {"OUT"};
  others[6].outputs = {"OUT", "OTHER"};
  others[7].parameters = {{"word", std::string("yes")}};
  others[8].parameters = {{"word", true}};
  others[9].parameters = {{"word", int64_t{1}}};
  others[10].correlation_id = 5;
  others[11].seed = 8;
  std::vector<std::pair<uint64_t, uint64_t>> keys = {key_of(plain)};
  for (const Asked& other : others) keys.push_back(key_of(other));
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(std::adjacent_find(keys.begin(), keys.end()), keys.end());
}

TEST(CacheKey, WhatAClientSaysForItselfDoesNotCount) {
  Asked named;
  named.request_id = "seven";
  EXPECT_EQ(key_of(named), key_of(Asked()));
}

TEST(CacheKey, InputsCountInTheConfigsOrder) {
  const auto key = [](const std::vector<uint16_t>& order) {
    shm::RequestBuilder table;
    for (const uint16_t index : order) {
      table.add_input("I" + std::to_string(index), index, base::Datatype::kUint8,
                      std::vector<int64_t>{1}, {shm::Place::kRegion, 1, index, 1});
    }
    const uint8_t bytes[] = {10, 20, 30};
    shm::set_cache_key(
        1, [&](const shm::TensorEntry& input) { return std::span(bytes).subspan(input.offset, 1); },
        &table);
    return std::pair(table.header.cache_key[0], table.header.cache_key[1]);
  };
  EXPECT_EQ(key({0, 1, 2}), key({2, 0, 1}));
  EXPECT_NE(key({0, 1, 2}), key({0, 1}));
}

// --- the store ---

class StoreTest : public testing::Test {
 protected:
  static constexpr uint64_t kBudget = 64 * 1024;

  StoreTest() {
    base::UniqueFd fd;
    EXPECT_TRUE(shm::make_memfd("core", kRegionBytes, &fd).ok());
    EXPECT_TRUE(shm::Mapping::map(fd.get(), true, &region_).ok());
    memory_.emplace(&region_, kRegionBytes, 0);
    cache_.emplace(&region_, &*memory_, kBudget);
  }

  CachedResponse* put(uint64_t key, size_t bytes, uint8_t fill, uint32_t model = 1) {
    const std::vector<uint8_t> data(bytes, fill);
    shm::ResponseBuilder table;
    table.add_output("OUT", 0, base::Datatype::kUint8,
                     std::vector<int64_t>{1, static_cast<int64_t>(bytes)},
                     {shm::Place::kRegion, 9, 0, bytes});
    table.add_parameter({"who", std::string("me")});
    shm::ResponseView view;
    EXPECT_TRUE(view.parse(table.finish()).ok());
    return cache_->insert({model, key, 0}, view,
                          [&](const shm::TensorEntry&) { return std::span<const uint8_t>(data); });
  }

  // The first byte of the entry's tensor, and how many there are.
  std::pair<int, uint64_t> content(const CachedResponse& entry) {
    shm::ResponseView view;
    EXPECT_TRUE(view.parse(cache_->table(entry)).ok());
    EXPECT_EQ(view.parameters().size(), 1u);
    const shm::TensorEntry& output = view.outputs()[0];
    EXPECT_EQ(output.region, shm::kCorePeer);
    return {region_.data()[output.offset], output.byte_size};
  }

  shm::Mapping region_;
  std::optional<shm::Allocator> memory_;
  std::optional<ResponseCache> cache_;
};

TEST_F(StoreTest, FindsWhatWasPut) {
  put(1, 100, 5);
  EXPECT_EQ(cache_->find({1, 2, 0}), nullptr);
  EXPECT_EQ(cache_->find({2, 1, 0}), nullptr) << "of another model";
  CachedResponse* const found = cache_->find({1, 1, 0});
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(content(*found), (std::pair<int, uint64_t>{5, 100}));
}

TEST_F(StoreTest, TheFirstAnswerStays) {
  put(1, 100, 5);
  put(1, 100, 6);
  EXPECT_EQ(content(*cache_->find({1, 1, 0})).first, 5);
  EXPECT_EQ(cache_->figures().entries, 1u);
}

TEST_F(StoreTest, TheLeastRecentlyUsedGoesFirst) {
  for (uint64_t key = 0; key < 5; ++key) ASSERT_NE(put(key, 10'000, 1), nullptr);
  cache_->find({1, 0, 0});
  put(5, 10'000, 1);
  put(6, 10'000, 1);
  EXPECT_NE(cache_->find({1, 0, 0}), nullptr) << "it was used";
  EXPECT_EQ(cache_->find({1, 1, 0}), nullptr);
  EXPECT_NE(cache_->find({1, 6, 0}), nullptr);
  EXPECT_GE(cache_->figures().evictions, 1u);
  EXPECT_LE(cache_->figures().bytes, kBudget);
}

TEST_F(StoreTest, NeverMoreThanItsBudget) {
  EXPECT_EQ(put(1, kBudget + 1, 1), nullptr);
  for (uint64_t key = 0; key < 1000; ++key) {
    put(key, 1 + (key * 7919) % 20'000, 1);
    ASSERT_LE(cache_->figures().bytes, kBudget);
    ASSERT_LE(memory_->used_bytes(), kBudget);
  }
  cache_->forget_model(1);
  EXPECT_EQ(cache_->figures().entries, 0u);
  EXPECT_EQ(memory_->used_bytes(), 0u);
}

TEST_F(StoreTest, WhatIsReadIsNotPushedOut) {
  CachedResponse* const read = put(1, 30'000, 5);
  cache_->pin(read);
  for (uint64_t key = 2; key < 20; ++key) put(key, 20'000, 1);
  EXPECT_EQ(content(*read).first, 5);
  EXPECT_NE(cache_->find({1, 1, 0}), nullptr);
  cache_->unpin(read);
}

TEST_F(StoreTest, WhatIsForgottenLivesUntilItsLastReaderIsDone) {
  CachedResponse* const read = put(1, 1000, 5);
  cache_->pin(read);
  cache_->pin(read);
  cache_->forget_model(1);
  EXPECT_EQ(cache_->find({1, 1, 0}), nullptr);
  EXPECT_EQ(content(*read).first, 5);
  cache_->unpin(read);
  EXPECT_GT(memory_->used_bytes(), 0u);
  cache_->unpin(read);
  EXPECT_EQ(memory_->used_bytes(), 0u);
}

TEST_F(StoreTest, AModelTakesItsOwnAnswersOnly) {
  put(1, 10, 5, 1);
  put(1, 10, 6, 2);
  cache_->forget_model(1);
  EXPECT_EQ(cache_->find({1, 1, 0}), nullptr);
  EXPECT_EQ(content(*cache_->find({2, 1, 0})).first, 6);
}

TEST_F(StoreTest, AsBytesAndBack) {
  const std::string bytes = cache_->to_bytes(*put(1, 1000, 5));
  cache_->forget_model(1);
  CachedResponse* const entry = cache_->insert_bytes({1, 1, 0}, bytes);
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(content(*entry), (std::pair<int, uint64_t>{5, 1000}));
}

TEST_F(StoreTest, BytesThatMakeNoSenseAreNoEntry) {
  const std::string good = cache_->to_bytes(*put(1, 1000, 5));
  cache_->forget_model(1);
  for (size_t length = 0; length < good.size(); ++length)
    EXPECT_EQ(cache_->insert_bytes({1, 1, 0}, std::string_view(good).substr(0, length)), nullptr);
  std::string changed = good;
  for (size_t at = 0; at < good.size() - 1000; ++at) {
    changed = good;
    changed[at] = static_cast<char>(changed[at] ^ 0xff);
    cache_->insert_bytes({1, at + 10, 0},
                         changed);  // whatever comes of it, nothing is read outside
  }
}

}  // namespace
}  // namespace pyserver::engine
