// SPDX-License-Identifier: Apache-2.0
#include "base/symbol.hpp"  // First: proves the header stands alone.

#include <dlfcn.h>
#include <gtest/gtest.h>

namespace coppice::base {
namespace {

TEST(Symbol, AFunctionOfASharedLibraryHasItsName) {
  const void* const address = ::dlsym(RTLD_DEFAULT, "getpid");
  EXPECT_NE(function_at(address).find("getpid"), std::string::npos) << function_at(address);
  EXPECT_NE(place_at(address).find(" in libc.so"), std::string::npos) << place_at(address);
}

TEST(Symbol, WhatNobodyNamesIsAnOffsetOrTheBareAddress) {
  int local = 0;
  EXPECT_EQ(function_at(&local), "");
  EXPECT_EQ(place_at(&local).substr(0, 2), "0x");
}

}  // namespace
}  // namespace coppice::base
