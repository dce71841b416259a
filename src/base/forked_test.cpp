// SPDX-License-Identifier: Apache-2.0
#include "base/forked.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace coppice::base {
namespace {

TEST(Forked, TheChildKnowsAndTheParentIsNone) {
  watch_for_forks();
  watch_for_forks();
  const pid_t child = ::fork();
  if (child == 0) ::_exit(is_forked_copy() ? 7 : 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_FALSE(is_forked_copy());
}

}  // namespace
}  // namespace coppice::base
