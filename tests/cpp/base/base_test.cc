// The small things below everything: datatypes, statuses, descriptors.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <utility>

#include "base/clock.h"
#include "base/datatype.h"
#include "base/fd.h"
#include "base/status.h"

namespace pyserver::base {
namespace {

TEST(Datatypes, WireNamesGoBothWays) {
  for (uint8_t number = 1; number <= kMaxDatatype; ++number) {
    const auto datatype = static_cast<Datatype>(number);
    EXPECT_EQ(datatype_from_wire(wire_name(datatype)), datatype);
    EXPECT_EQ(element_byte_size(datatype) == 0, datatype == Datatype::kBytes);
  }
  EXPECT_FALSE(datatype_from_wire("<invalid>").has_value());
  EXPECT_FALSE(datatype_from_wire("fp32").has_value());
  EXPECT_FALSE(datatype_from_wire("").has_value());
  EXPECT_EQ(wire_name(static_cast<Datatype>(200)), "<invalid>");
  EXPECT_EQ(element_byte_size(static_cast<Datatype>(200)), 0u);
}

TEST(Statuses, CarryCodeAndMessage) {
  EXPECT_TRUE(Status().ok());
  const Status status = unavailable("full");
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_EQ(status.message(), "full");
  EXPECT_FALSE(Status(Code::kUnknown, "").ok());
}

TEST(Statuses, MapToHttp) {
  const int wanted[kMaxCode + 1] = {400, 500, 404, 400, 503, 501, 400, 400};
  for (uint8_t code = 0; code <= kMaxCode; ++code)
    EXPECT_EQ(http_status(static_cast<Code>(code)), wanted[code]);
}

TEST(Fds, CloseThemselvesOnce) {
  const int raw = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  {
    UniqueFd one(raw);
    UniqueFd other(std::move(one));
    EXPECT_FALSE(one.valid());  // NOLINT: what a moved-from descriptor is, is part of the promise
    one = std::move(other);
    EXPECT_EQ(one.get(), raw);
    UniqueFd& same = one;
    one = std::move(same);
    EXPECT_EQ(one.get(), raw);
  }
  EXPECT_EQ(::fcntl(raw, F_GETFD), -1);
  UniqueFd released(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int kept = released.release();
  released.reset();
  EXPECT_GE(::fcntl(kept, F_GETFD), 0);
  ::close(kept);
}

TEST(Clocks, OnlyGoForward) {
  const uint64_t before = monotonic_ns();
  EXPECT_LE(before, monotonic_ns());
  EXPECT_GT(wall_ms(), 1'600'000'000'000u);
}

}  // namespace
}  // namespace pyserver::base
