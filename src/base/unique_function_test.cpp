// SPDX-License-Identifier: Apache-2.0
#include "base/unique_function.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <array>
#include <memory>

namespace coppice::base {
namespace {

TEST(UniqueFunction, HoldsMoveOnlyCallables) {
  unique_function<int(int)> f = [p = std::make_unique<int>(40)](int x) { return *p + x; };
  unique_function<int(int)> g = std::move(f);
  EXPECT_FALSE(f);  // NOLINT: moved from is empty, that is the promise
  EXPECT_EQ(g(2), 42);
}

TEST(UniqueFunction, HoldsCallablesBeyondItsBuffer) {
  std::array<int, 64> big{};
  big[63] = 7;
  unique_function<int()> f = [big] { return big[63]; };
  unique_function<int()> g;
  g = std::move(f);
  EXPECT_EQ(g(), 7);
}

TEST(UniqueFunction, EndsWhatItHoldsOnce) {
  auto p = std::make_shared<int>(1);
  const std::weak_ptr<int> w = p;
  {
    unique_function<void()> f = [p = std::move(p)] {};
    unique_function<void()> g = std::move(f);
    g = unique_function<void()>(std::move(g));
    EXPECT_FALSE(w.expired());
    g = nullptr;
    EXPECT_TRUE(w.expired());
  }
}

TEST(UniqueFunctionDeath, CallingAnEmptyOneAborts) {
  unique_function<void()> f;
  EXPECT_DEATH(f(), "an empty unique_function was called");
}

}  // namespace
}  // namespace coppice::base
