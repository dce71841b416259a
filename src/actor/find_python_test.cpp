// SPDX-License-Identifier: Apache-2.0
#include "actor/find_python.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "coppice/errors.hpp"

namespace coppice::py {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class FindPython : public testing::Test {
 protected:
  void SetUp() override {
    ::unsetenv("PYTHON");
    ::unsetenv("VIRTUAL_ENV");
    char name[] = "/tmp/coppice-python-XXXXXX";
    folder = ::mkdtemp(name);
  }
  void TearDown() override { fs::remove_all(folder); }

  std::string script(const std::string& name, const std::string& text) {
    const fs::path path = folder / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << "#!/bin/sh\n" << text << "\n";
    ::chmod(path.c_str(), 0755);
    return path.string();
  }

  std::string failure(const find_python_options& o) {
    try {
      return "found " + find_python(o).executable;
    } catch (const backend_unavailable& e) {
      return e.what();
    }
  }

  fs::path folder;
};

TEST_F(FindPython, DescribesTheOneThatWasNamed) {
  const python_description p = find_python({.explicit_path = COPPICE_TEST_PYTHON});
  EXPECT_EQ(p.executable, COPPICE_TEST_PYTHON);
  EXPECT_EQ(p.chosen_by, "the option 'python'");
  EXPECT_EQ(p.major, 3);
  EXPECT_GE(p.minor, 14);
  EXPECT_FALSE(p.free_threaded);
  EXPECT_TRUE(fs::exists(p.libpython)) << p.libpython;
  EXPECT_EQ(refusal(p), std::nullopt);
}

TEST_F(FindPython, OptionBeatsPythonBeatsVirtualEnvBeatsPyvenvCfg) {
  const std::string venv = script("venv/bin/python", "exec " COPPICE_TEST_PYTHON " \"$@\"");
  std::ofstream(folder / "venv/pyvenv.cfg") << "\n";
  fs::create_directories(folder / "venv/project/deep");
  const find_python_options in_project{.start_folder = (folder / "venv/project/deep").string()};
  EXPECT_EQ(find_python(in_project).chosen_by, "pyvenv.cfg");
  EXPECT_EQ(find_python(in_project).executable, venv);
  ::setenv("VIRTUAL_ENV", (folder / "venv").c_str(), 1);
  EXPECT_EQ(find_python(in_project).chosen_by, "$VIRTUAL_ENV");
  ::setenv("PYTHON", COPPICE_TEST_PYTHON, 1);
  EXPECT_EQ(find_python(in_project).chosen_by, "$PYTHON");
  find_python_options named = in_project;
  named.explicit_path = venv;
  EXPECT_EQ(find_python(named).chosen_by, "the option 'python'");
}

TEST_F(FindPython, BuildsDefaultServesWhenNothingElseSaysWhich) {
  EXPECT_EQ(find_python({.start_folder = folder.string()}).chosen_by, "the build's default");
}

TEST_F(FindPython, OneSentenceForEachThingThatIsWrong) {
  const auto has = [](const std::string& text, std::initializer_list<const char*> parts) {
    for (const char* part : parts)
      EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  };
  has(failure({.explicit_path = "/nowhere/python"}),
      {"/nowhere/python", "No such file", "$PYTHON"});
  has(failure({.explicit_path = script("mute", "exit 0")}), {"mute", "does not answer"});
  has(failure({.explicit_path = script("broken", "exit 3")}), {"broken", "status 3"});
  has(failure({.explicit_path = script("killed", "kill -9 $$")}), {"killed", "Killed"});
  const std::string tail = "\necho /lib\necho libpython.so\necho /usr";
  has(failure({.explicit_path = script("pypy", "echo pypy 3 14 2 0" + tail)}),
      {"pypy", "not CPython"});
  has(failure({.explicit_path = script("old", "echo cpython 3 12 4 0" + tail)}),
      {"3.12.4", "3.14.1"});
  has(failure({.explicit_path = script("early", "echo cpython 3 14 0 0" + tail)}),
      {"3.14.0", "aborts"});
  has(failure({.explicit_path = script("free", "echo cpython 3 14 7 1" + tail)}),
      {"free-threaded"});
  has(failure(
          {.explicit_path = script("static", "echo cpython 3 14 7 0\necho /lib\necho\necho /usr")}),
      {"without a shared library"});
  ::setenv("PYTHON", script("env", "exit 9").c_str(), 1);
  has(failure({}), {"$PYTHON", "status 9"});
}

TEST_F(FindPython, OneThatHangsIsKilledAtTheDeadline) {
  const auto fds = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  const auto before = fds();
  const auto start = std::chrono::steady_clock::now();
  const std::string text =
      failure({.explicit_path = script("slow", "exec sleep 900"), .deadline = 100ms});
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s);
  EXPECT_NE(text.find("did not answer within 100 ms"), std::string::npos) << text;
  EXPECT_EQ(fds(), before);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a process is left";
}

}  // namespace
}  // namespace coppice::py
