// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "coppice/errors.hpp"
#include "coppice/runtime.hpp"

namespace coppice {
namespace {

namespace fs = std::filesystem;

std::string failure_to_start() {
  try {
    runtime rt;
    return "";
  } catch (const error& e) {
    return e.what();
  }
}

TEST(OneCopy, ASecondLibcoppiceIsRefusedInOneSentenceThatNamesBoth) {
  EXPECT_EQ(failure_to_start(), "");
  char folder[] = "/tmp/coppice-copy-XXXXXX";
  ASSERT_TRUE(::mkdtemp(folder));
  const fs::path copy = fs::path(folder) / "libcoppice.so.9";
  fs::copy_file(COPPICE_TEST_LIBRARY, copy);
  void* second = ::dlopen(copy.c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_TRUE(second) << ::dlerror();
  const std::string text = failure_to_start();
  EXPECT_NE(text.find(copy.string()), std::string::npos) << text;
  EXPECT_NE(text.find("/libcoppice.so.0"), std::string::npos) << text;
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  ::dlclose(second);
  EXPECT_EQ(failure_to_start(), "");
  fs::remove_all(folder);
}

}  // namespace
}  // namespace coppice
