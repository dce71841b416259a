// SPDX-License-Identifier: Apache-2.0
// COPPICE_TEST: a GoogleTest test whose body is a coroutine, on virtual time.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "coppice/nursery.hpp"
#include "coppice/task.hpp"
#include "coppice/testkit/test_env.hpp"
#include "coppice/time.hpp"

// EXPECT_EQ(co_await x(), 3) and EXPECT_THROW(co_await f(), e) work in it. ASSERT_* does not: it
// returns. End a body that awaits nothing with co_return.
#define COPPICE_TEST(Suite, Name)                                                             \
  static ::coppice::task<> coppice_test_##Suite##_##Name(::coppice::testkit::test_env& t);    \
  TEST(Suite, Name) {                                                                         \
    const std::string why =                                                                   \
        ::coppice::testkit::run_async_test(#Suite "." #Name, &coppice_test_##Suite##_##Name); \
    if (!why.empty()) ADD_FAILURE() << why;                                                   \
  }                                                                                           \
  static ::coppice::task<> coppice_test_##Suite##_##Name(                                     \
      [[maybe_unused]] ::coppice::testkit::test_env& t)
