// SPDX-License-Identifier: Apache-2.0
#include "coppice/version.hpp"

#include <gtest/gtest.h>

namespace coppice {
namespace {

TEST(Version, IsThatOfTheProject) { EXPECT_STREQ(version(), COPPICE_TEST_VERSION); }

}  // namespace
}  // namespace coppice
