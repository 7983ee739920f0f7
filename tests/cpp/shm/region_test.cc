// Regions: their seals, their bounds, and the table of those of others.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/layout.h"
#include "shm/peer.h"
#include "shm/region.h"

namespace pyserver::shm {
namespace {

uint64_t resident_bytes(int fd) {
  struct stat info {};
  EXPECT_EQ(::fstat(fd, &info), 0);
  return static_cast<uint64_t>(info.st_blocks) * 512;
}

TEST(Region, IsSealedAgainstEveryChangeOfSize) {
  base::UniqueFd fd;
  ASSERT_TRUE(make_memfd("sealed", 10'000, &fd).ok());
  EXPECT_EQ(::ftruncate(fd.get(), 4096), -1);
  EXPECT_EQ(::ftruncate(fd.get(), 1 << 20), -1);
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE), -1);
  struct stat info {};
  ASSERT_EQ(::fstat(fd.get(), &info), 0);
  EXPECT_EQ(info.st_size, 12'288);
}

TEST(Region, WhatCouldShrinkIsNotMapped) {
  const base::UniqueFd fd(::memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(fd.get(), 4096), 0);
  Mapping mapping;
  EXPECT_FALSE(Mapping::map(fd.get(), false, &mapping).ok());
  const base::UniqueFd file(::open("/dev/null", O_RDWR));
  EXPECT_FALSE(Mapping::map(file.get(), false, &mapping).ok());
  EXPECT_FALSE(mapping.valid());
}

TEST(Region, ContainsIsExactAtItsEnds) {
  base::UniqueFd fd;
  Mapping mapping;
  ASSERT_TRUE(make_memfd("bounds", 4096, &fd).ok());
  ASSERT_TRUE(Mapping::map(fd.get(), true, &mapping).ok());
  EXPECT_TRUE(mapping.contains(0, 4096));
  EXPECT_TRUE(mapping.contains(4096, 0));
  EXPECT_FALSE(mapping.contains(1, 4096));
  EXPECT_FALSE(mapping.contains(4097, 0));
  EXPECT_FALSE(mapping.contains(UINT64_MAX, 1));
  EXPECT_FALSE(mapping.contains(1, UINT64_MAX));
}

TEST(Region, PagesComeWhenTouchedAndGoWhenReleased) {
  base::UniqueFd fd;
  Mapping mapping;
  ASSERT_TRUE(make_memfd("sparse", 1 << 30, &fd).ok());
  ASSERT_TRUE(Mapping::map(fd.get(), true, &mapping).ok());
  EXPECT_EQ(resident_bytes(fd.get()), 0u);
  for (uint64_t page = 0; page < 4; ++page) mapping.data()[page * kPageBytes] = 1;
  EXPECT_EQ(resident_bytes(fd.get()), 4 * kPageBytes);
  // Only the whole pages inside the range: the first and the last byte's pages stay.
  mapping.release_pages(1, 3 * kPageBytes);
  EXPECT_EQ(mapping.data()[0], 1);
  EXPECT_EQ(mapping.data()[kPageBytes], 0);
  EXPECT_EQ(mapping.data()[2 * kPageBytes], 0);
  EXPECT_EQ(mapping.data()[3 * kPageBytes], 1);
}

TEST(PeerRegions, HoldersKeepARetiredRegion) {
  base::UniqueFd fd;
  ASSERT_TRUE(make_memfd("peer", 4096, &fd).ok());
  PeerRegions regions;
  ASSERT_TRUE(regions.add(4, fd.get()).ok());
  RegionRef held = regions.find(4);
  ASSERT_NE(held, nullptr);
  EXPECT_EQ(regions.find(5), nullptr);
  regions.retire(4);
  EXPECT_EQ(regions.find(4), nullptr);
  EXPECT_EQ(regions.size(), 0u);
  EXPECT_EQ(held->data()[0], 0);
  EXPECT_TRUE(bytes_at(*held, 0, 4096).has_value());
  EXPECT_FALSE(bytes_at(*held, 1, 4096).has_value());
  EXPECT_FALSE(regions.add(6, -1).ok());
}

}  // namespace
}  // namespace pyserver::shm
