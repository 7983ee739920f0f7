// The allocator beside a shadow that remembers every block.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "shm/allocator.h"
#include "shm/region.h"

namespace pyserver::shm {
namespace {

class AllocatorTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kRegionBytes = 64 << 20;

  void SetUp() override {
    ASSERT_TRUE(make_memfd("allocator", kRegionBytes, &fd_).ok());
    ASSERT_TRUE(Mapping::map(fd_.get(), true, &mapping_).ok());
  }
  base::UniqueFd fd_;
  Mapping mapping_;
};

TEST_F(AllocatorTest, RandomAllocationsNeverOverlapAndAllComeBack) {
  for (const uint64_t keep : {uint64_t{0}, uint64_t{4} << 20, kRegionBytes}) {
    Allocator allocator(&mapping_, kRegionBytes, keep);
    std::mt19937_64 random(keep + 1);
    std::map<uint64_t, std::pair<uint64_t, uint8_t>> shadow;  // offset -> (bytes, fill)
    for (int step = 0; step < 30'000; ++step) {
      if (shadow.size() < 10 || random() % 2 == 0) {
        const uint64_t bytes = random() % (uint64_t{1} << (random() % 21)) + random() % 2;
        const std::optional<uint64_t> offset = allocator.allocate(bytes);
        if (!offset) continue;
        ASSERT_EQ(*offset % Allocator::kAlignment, 0u);
        ASSERT_TRUE(mapping_.contains(*offset, bytes));
        ASSERT_GE(allocator.capacity(*offset), bytes);
        const auto next = shadow.lower_bound(*offset);
        ASSERT_TRUE(next == shadow.end() || *offset + std::max<uint64_t>(bytes, 1) <= next->first);
        ASSERT_TRUE(next == shadow.begin() ||
                    std::prev(next)->first + std::prev(next)->second.first <= *offset);
        const auto fill = static_cast<uint8_t>(step);
        if (bytes > 0) mapping_.data()[*offset] = mapping_.data()[*offset + bytes - 1] = fill;
        shadow[*offset] = {bytes, fill};
      } else {
        auto victim = shadow.begin();
        std::advance(victim, static_cast<int64_t>(random() % std::min<size_t>(shadow.size(), 50)));
        const auto [bytes, fill] = victim->second;
        if (bytes > 0) {
          ASSERT_EQ(mapping_.data()[victim->first], fill);
          ASSERT_EQ(mapping_.data()[victim->first + bytes - 1], fill);
        }
        allocator.free(victim->first);
        shadow.erase(victim);
      }
      if (step % 5'000 == 0) allocator.trim();
      ASSERT_EQ(allocator.live_blocks(), shadow.size());
      ASSERT_LE(allocator.used_bytes(), kRegionBytes);
    }
    for (const auto& [offset, block] : shadow) allocator.free(offset);
    EXPECT_EQ(allocator.live_blocks(), 0u);
    EXPECT_EQ(allocator.used_bytes(), 0u);
    allocator.trim();
    EXPECT_TRUE(allocator.allocate(kRegionBytes).has_value()) << "everything is one run again";
  }
}

TEST_F(AllocatorTest, EverySizeAroundEveryStepFits) {
  Allocator allocator(&mapping_, kRegionBytes, kRegionBytes);
  for (uint64_t bytes = 0; bytes <= Allocator::kSmallLimit + 70'000;
       bytes += bytes < 1100 ? 1 : 61) {
    const std::optional<uint64_t> offset = allocator.allocate(bytes);
    ASSERT_TRUE(offset.has_value()) << bytes;
    EXPECT_GE(allocator.capacity(*offset), bytes);
    allocator.free(*offset);
  }
  EXPECT_EQ(allocator.used_bytes(), 0u);
}

TEST_F(AllocatorTest, SaysNoWhenTheBudgetOrTheRegionIsSpent) {
  Allocator tight(&mapping_, 1 << 20, 0);
  EXPECT_FALSE(tight.allocate((1 << 20) + 1).has_value());
  EXPECT_FALSE(tight.allocate(UINT64_MAX).has_value());
  const std::optional<uint64_t> all = tight.allocate(1 << 20);
  ASSERT_TRUE(all.has_value());
  EXPECT_FALSE(tight.allocate(1).has_value());
  tight.free(*all);
  EXPECT_TRUE(tight.allocate(1).has_value());
  Allocator rich(&mapping_, UINT64_MAX, 0);
  EXPECT_FALSE(rich.allocate(kRegionBytes + 1).has_value());
  EXPECT_FALSE(rich.allocate(UINT64_MAX).has_value());
  EXPECT_FALSE(rich.allocate(UINT64_MAX - Allocator::kChunkBytes / 2).has_value());
  EXPECT_TRUE(rich.allocate(kRegionBytes).has_value());
}

TEST_F(AllocatorTest, FreedSmallBlocksDoNotStandInTheWayOfLargeOnes) {
  Allocator allocator(&mapping_, kRegionBytes, kRegionBytes);
  for (int round = 0; round < 2; ++round) {
    for (const uint64_t bytes : {uint64_t{64}, uint64_t{1000}, Allocator::kSmallLimit}) {
      std::vector<uint64_t> blocks;
      while (const std::optional<uint64_t> block = allocator.allocate(bytes))
        blocks.push_back(*block);
      ASSERT_GE(blocks.size() * bytes, kRegionBytes / 2);
      for (const uint64_t block : blocks) allocator.free(block);
    }
    const std::optional<uint64_t> all = allocator.allocate(kRegionBytes);
    ASSERT_TRUE(all.has_value());
    allocator.free(*all);
  }
}

TEST_F(AllocatorTest, FreedMemoryBeyondWhatIsKeptGoesBackToTheSystem) {
  const auto fill = [&](Allocator& allocator) {
    const uint64_t offset = *allocator.allocate(8 << 20);
    std::memset(mapping_.data() + offset, 7, 8 << 20);
    allocator.free(offset);
    return mapping_.data()[offset];
  };
  Allocator keeps(&mapping_, kRegionBytes, kRegionBytes);
  EXPECT_EQ(fill(keeps), 7);
  keeps.trim();
  EXPECT_EQ(mapping_.data()[0], 0);
  Allocator returns(&mapping_, kRegionBytes, 0);
  EXPECT_EQ(fill(returns), 0);
}

using AllocatorDeathTest = AllocatorTest;

TEST_F(AllocatorDeathTest, AWrongFreeAborts) {
  Allocator allocator(&mapping_, kRegionBytes, 0);
  const uint64_t small = *allocator.allocate(100);
  const uint64_t large = *allocator.allocate(1 << 20);
  EXPECT_DEATH(allocator.free(kRegionBytes - 64), "never allocated");
  EXPECT_DEATH(allocator.free(small + 64), "not allocated");
  EXPECT_DEATH(allocator.free(large + Allocator::kChunkBytes), "not allocated");
  allocator.free(large);
  EXPECT_DEATH(allocator.free(large), "not allocated");
}

}  // namespace
}  // namespace pyserver::shm
