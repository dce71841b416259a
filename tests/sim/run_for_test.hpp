// SPDX-License-Identifier: Apache-2.0
// Runs the programs of this folder and looks at what they print.
#pragma once

#include <stdio.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <string>

namespace coppice::sim {

struct ended {
  int status = -1;
  std::string output;
};

/// Runs a whole command line.
inline ended run(const std::string& command) {
  ended out;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return out;
  char part[4096];
  while (const std::size_t n = std::fread(part, 1, sizeof part, pipe)) out.output.append(part, n);
  const int how = ::pclose(pipe);
  out.status = WIFEXITED(how) ? WEXITSTATUS(how) : -1;
  return out;
}
/// A program of this folder.
inline std::string program(const std::string& name) {
  return (std::filesystem::path(COPPICE_SIM_FOLDER) / name).string();
}

/// The rest of the last line that begins so; empty: there is none.
inline std::string line_after(const std::string& text, const std::string& beginning) {
  const auto at = text.rfind("\n" + beginning);
  if (at == std::string::npos) return {};
  const auto from = at + 1 + beginning.size();
  return text.substr(from, text.find('\n', from) - from);
}

}  // namespace coppice::sim
