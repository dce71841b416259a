// SPDX-License-Identifier: Apache-2.0
#include "tests/conformance/resources.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

namespace coppice::conformance {

namespace fs = std::filesystem;

namespace {
template <class Filter>
std::size_t count(const std::string& directory, Filter filter) {
  std::size_t n = 0;
  std::error_code ec;
  for (fs::directory_iterator it(directory, ec), end; !ec && it != end; it.increment(ec))
    n += filter(it->path()) ? 1 : 0;
  return n;
}
bool any(const fs::path&) { return true; }

std::string socket_directory() {
  if (const char* xdg = std::getenv("XDG_RUNTIME_DIR")) return std::string(xdg) + "/coppice";
  return "/tmp/coppice-" + std::to_string(::getuid());
}
}  // namespace

std::string resources::text() const {
  return std::to_string(threads) + " threads, " + std::to_string(processes) + " processes, " +
         std::to_string(fds) + " fds, " + std::to_string(socket_files) + " socket files";
}

resources count_resources() {
  resources r;
  r.threads = count("/proc/self/task", any);
  r.fds = count("/proc/self/fd", any);
  const std::string mine = "@" + std::to_string(::getpid()) + ".sock";
  r.socket_files =
      count(socket_directory(), [&](const fs::path& p) { return p.string().ends_with(mine); });
  std::error_code ec;
  for (fs::directory_iterator it("/proc/self/task", ec), end; !ec && it != end; it.increment(ec)) {
    std::ifstream in(it->path() / "children");
    for (std::string pid; in >> pid;) ++r.processes;
  }
  return r;
}

void expect_settled(const resources& before) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  for (;;) {
    const auto now = count_resources();
    const bool settled = now.threads <= before.threads && now.processes <= before.processes &&
                         now.fds <= before.fds && now.socket_files <= before.socket_files;
    if (settled) return;
    if (std::chrono::steady_clock::now() > until) {
      ADD_FAILURE() << "left behind: before " << before.text() << "; after " << now.text();
      return;
    }
    // tidy: allow sleep: what the kernel removes has no event
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace coppice::conformance
