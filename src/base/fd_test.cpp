// SPDX-License-Identifier: Apache-2.0
#include "base/fd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

namespace coppice::base {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFd, ClosesWhenItEndsAndNotBefore) {
  int raw = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  {
    unique_fd owner(raw);
    unique_fd next = std::move(owner);
    EXPECT_FALSE(owner);  // NOLINT: what a move leaves is the promise under test
    EXPECT_TRUE(is_open(raw));
  }
  EXPECT_FALSE(is_open(raw));
}

TEST(UniqueFd, ReleaseGivesTheNumberAway) {
  int raw = unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)).release();
  EXPECT_TRUE(is_open(raw));
  ::close(raw);
}

TEST(EventFd, CountsRingsAndIsCloseOnExec) {
  event_fd e;
  EXPECT_EQ(e.clear(), 0u);
  e.ring();
  e.ring();
  EXPECT_EQ(e.clear(), 2u);
  EXPECT_EQ(e.clear(), 0u);
  EXPECT_TRUE(::fcntl(e.fd(), F_GETFD) & FD_CLOEXEC);
}

TEST(WriteWithoutWaiting, AFullPipeTakesWhatFitsAndHoldsNobodyUp) {
  int raw[2];
  ASSERT_EQ(::pipe2(raw, O_CLOEXEC), 0);
  const unique_fd reader(raw[0]), writer(raw[1]);
  write_without_waiting(writer.get(), "one line\n");
  char got[16] = {};
  EXPECT_EQ(::read(reader.get(), got, sizeof got), 9);
  EXPECT_STREQ(got, "one line\n");
  write_without_waiting(writer.get(), std::string(4 << 20, 'x'));  // Returns: nobody reads.
}

}  // namespace
}  // namespace coppice::base
