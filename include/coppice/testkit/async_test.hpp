// SPDX-License-Identifier: Apache-2.0
// COPPICE_TEST: a GoogleTest test whose body is a coroutine, on virtual time.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>

#include "coppice/nursery.hpp"
#include "coppice/task.hpp"
#include "coppice/testkit/test_env.hpp"
#include "coppice/time.hpp"

namespace coppice::testkit::detail {

/// One COPPICE_TEST. A failure of any kind names the seed of its order, if it has one.
inline void run_as_gtest(const char* name, task<> (*body)(test_env&)) {
  const std::optional<std::uint64_t> seed = order_seed_of_environment();
  std::optional<testing::ScopedTrace> trace;
  if (seed) trace.emplace(__FILE__, __LINE__, "COPPICE_ORDER_SEED=" + std::to_string(*seed));
  const std::string why = run_async_test(name, body, seed);
  if (!why.empty()) ADD_FAILURE() << why;
}

}  // namespace coppice::testkit::detail

// EXPECT_EQ(co_await x(), 3) and EXPECT_THROW(co_await f(), e) work in it. ASSERT_* does not: it
// returns. End a body that awaits nothing with co_return. With COPPICE_ORDER_SEED=n in the
// environment, tasks run in an order that n decides: try a few to find tests, and code, that rely
// on one.
#define COPPICE_TEST(Suite, Name)                                                               \
  static ::coppice::task<> coppice_test_##Suite##_##Name(::coppice::testkit::test_env& t);      \
  TEST(Suite, Name) {                                                                           \
    ::coppice::testkit::detail::run_as_gtest(#Suite "." #Name, &coppice_test_##Suite##_##Name); \
  }                                                                                             \
  static ::coppice::task<> coppice_test_##Suite##_##Name(                                       \
      [[maybe_unused]] ::coppice::testkit::test_env& t)
