// SPDX-License-Identifier: Apache-2.0
#include "base/uuid.hpp"

#include <gtest/gtest.h>

#include <regex>
#include <set>

namespace coppice::base {
namespace {

TEST(Uuid, IsCanonicalVersionFourAndNeverTheSame) {
  const std::regex form("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}");
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    auto id = new_uuid();
    EXPECT_TRUE(std::regex_match(id, form)) << id;
    EXPECT_TRUE(seen.insert(id).second);
  }
}

TEST(Uuid, TheSameSeedMakesTheSameOnes) {
  seed_uuids(7);
  const std::string first = new_uuid(), second = new_uuid();
  EXPECT_NE(first, second);
  seed_uuids(7);
  EXPECT_EQ(new_uuid(), first);
  EXPECT_EQ(new_uuid(), second);
  seed_uuids(8);
  EXPECT_NE(new_uuid(), first);
}

}  // namespace
}  // namespace coppice::base
