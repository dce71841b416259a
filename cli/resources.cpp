// SPDX-License-Identifier: Apache-2.0
#include "cli/resources.hpp"

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "actor/python_side.hpp"

namespace coppice::cli {

namespace fs = std::filesystem;

namespace {
std::size_t entries(const char* directory) {
  std::size_t n = 0;
  std::error_code ec;
  for (fs::directory_iterator it(directory, ec), end; !ec && it != end; it.increment(ec)) ++n;
  return n;
}

std::size_t child_processes() {
  std::size_t n = 0;
  std::error_code ec;
  for (fs::directory_iterator it("/proc/self/task", ec), end; !ec && it != end; it.increment(ec)) {
    std::ifstream in(it->path() / "children");
    for (std::string pid; in >> pid;) ++n;
  }
  return n;
}
}  // namespace

resources count_resources() {
  resources r;
  r.threads = entries("/proc/self/task");
  r.interpreters = tree::live_interpreters();
  r.processes = child_processes();
  r.fds = entries("/proc/self/fd") - 1;  // One is the directory that is being read.
  return r;
}

resources settle(const resources& goal) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
  for (;;) {
    const resources now = count_resources();
    const bool settled = now.threads <= goal.threads && now.interpreters <= goal.interpreters &&
                         now.processes <= goal.processes && now.fds <= goal.fds;
    if (settled || std::chrono::steady_clock::now() > until) return now;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace coppice::cli
