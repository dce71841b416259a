// SPDX-License-Identifier: Apache-2.0
#include "pyext/main_script.hpp"

#include <gtest/gtest.h>

#include "coppice/value.hpp"

namespace coppice::py {
namespace {

TEST(ParentProgram, TravelsAsMultiprocessingSpellsIt) {
  parent_program p;
  p.main_name = "pkg.tool";
  p.sys_path = {"/a", "/b"};
  p.loop = "asyncio";
  EXPECT_EQ(
      value(p.to_payload()).text(),
      "{'init_main_from_name': 'pkg.tool', 'coppice_loop': 'asyncio', 'sys_path': ['/a', '/b']}");
  const auto back = parent_program::from(p.to_payload());
  EXPECT_EQ(back.main_name, "pkg.tool");
  EXPECT_EQ(back.sys_path, p.sys_path);
  EXPECT_EQ(value(parent_program().to_payload()).text(), "{}");
  EXPECT_EQ(parent_program::from(payload()).main_path, "") << "a parent in C++ sends nil";
}

TEST(ParentProgram, ImportFolderIsWhereTheOutermostPackageLies) {
  EXPECT_EQ(import_folder("a", "/x/a.py"), "/x");
  EXPECT_EQ(import_folder("a.b", "/x/a/b.py"), "/x");
  EXPECT_EQ(import_folder("a.b", "/x/a/b/__init__.py"), "/x");
  EXPECT_EQ(import_folder("a.b", "/x/c/b.py"), "");
  EXPECT_EQ(import_folder("a", ""), "");
}

}  // namespace
}  // namespace coppice::py
