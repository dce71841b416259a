// SPDX-License-Identifier: Apache-2.0
#include "base/describe.hpp"

#include <gtest/gtest.h>

namespace coppice::base {
namespace {

TEST(TreeWriter, IndentsByDepth) {
  tree_writer w;
  w.line("root");
  {
    auto level = w.deeper();
    w.line("child");
  }
  w.line("sibling");
  EXPECT_EQ(w.text(), "root\n  child\nsibling\n");
}

}  // namespace
}  // namespace coppice::base
