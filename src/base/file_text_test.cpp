// SPDX-License-Identifier: Apache-2.0
#include "base/file_text.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "base/fd.hpp"

namespace coppice::base {
namespace {

TEST(FileText, IsAllOfALongFile) {
  char path[] = "/tmp/coppice-file-text-XXXXXX";
  const unique_fd fd(::mkstemp(path));
  std::string said(10'000, 'x');
  said += '\0';
  said += "end";
  ASSERT_EQ(::write(fd.get(), said.data(), said.size()), static_cast<ssize_t>(said.size()));
  EXPECT_EQ(file_text(path), said);
  ::unlink(path);
}

TEST(FileText, IsNothingWhereThereIsNoFile) { EXPECT_EQ(file_text("/proc/0/stat"), ""); }

TEST(FileText, IsNothingWhereReadingFails) {
  EXPECT_EQ(file_text("/proc/self/mem"), "");  // Address 0: EIO.
  EXPECT_EQ(file_text("/proc/self"), "");      // EISDIR.
}

TEST(FileText, IsNothingOfAProcessThatHasEnded) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  siginfo_t ended{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(file_text("/proc/" + std::to_string(pid) + "/environ"), "");
  ::waitpid(pid, nullptr, 0);
}

}  // namespace
}  // namespace coppice::base
