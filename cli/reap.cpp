// SPDX-License-Identifier: Apache-2.0
#include "cli/reap.hpp"

#include <fmt/format.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "ipc/listener.hpp"
#include "spawn/orphans.hpp"

namespace coppice::cli {

namespace {

using spawn::orphan;
using spawn::reaped;

// The end of an orphan makes orphans of its children: a generation in each round.
constexpr int rounds_max = 16;

std::string_view name_of(reaped how) {
  switch (how) {
    case reaped::asked:
      return "ended at SIGTERM";
    case reaped::killed:
      return "killed";
    case reaped::stays:
      return "does not end: the kernel holds it, or it may not be signalled";
  }
  return "";
}

std::string line_of(const orphan& o) {
  return fmt::format("process {}, actor '{}': {}\n    {}", o.pid, o.name, o.why, o.shown);
}

/// What is asked for of what there is.
std::vector<orphan> orphans_for(const reap_options& options) {
  if (options.files_only) return {};
  std::vector<orphan> all = spawn::find_orphans();
  if (options.pids.empty()) return all;
  std::set<pid_t> wanted(options.pids.begin(), options.pids.end());
  for (bool found = true; std::exchange(found, false);)  // With what is below them.
    for (const orphan& o : all)
      if (o.below && wanted.contains(o.parent)) found = wanted.insert(o.pid).second || found;
  std::erase_if(all, [&](const orphan& o) { return !wanted.contains(o.pid); });
  return all;
}

std::vector<std::string> files_for(const reap_options& options) {
  return options.pids.empty() ? ipc::dead_sockets() : std::vector<std::string>();
}

int list(const reap_options& options) {
  const auto orphans = orphans_for(options);
  const auto files = files_for(options);
  for (const orphan& o : orphans) std::printf("%s\n", line_of(o).c_str());
  for (const std::string& path : files) std::printf("socket %s: nobody listens\n", path.c_str());
  if (orphans.empty() && files.empty()) return std::printf("nothing is left behind\n"), 0;
  std::printf(
      "nothing was done: `coppice reap --yes` ends these %zu processes and removes %zu "
      "files; with pids, only those processes\n",
      orphans.size(), files.size());
  return 1;
}

/// How many stay.
std::size_t end_processes(const reap_options& options) {
  std::size_t staying = 0;
  std::set<pid_t> done;
  for (int round = 0; round < rounds_max; ++round) {
    std::vector<orphan> them = orphans_for(options);
    std::erase_if(them, [&](const orphan& o) { return done.contains(o.pid); });
    if (them.empty()) break;
    for (const orphan& o : them) std::printf("%s\n", line_of(o).c_str());
    std::fflush(stdout);
    const auto outcome = spawn::end_orphans(them);
    for (std::size_t i = 0; i < them.size(); ++i) {
      done.insert(them[i].pid);
      staying += outcome[i] == reaped::stays ? 1 : 0;
      std::printf("process %d: %s\n", them[i].pid, std::string(name_of(outcome[i])).c_str());
    }
  }
  return staying;
}

std::size_t remove_files(const reap_options& options) {
  std::size_t staying = 0;
  for (const std::string& path : files_for(options)) {
    const bool gone = ::unlink(path.c_str()) == 0 || errno == ENOENT;
    std::printf("socket %s: %s\n", path.c_str(), gone ? "removed" : std::strerror(errno));
    staying += gone ? 0 : 1;
  }
  return staying;
}

/// Names those that are no orphans; how many.
std::size_t refuse_others(const reap_options& options) {
  const auto orphans = orphans_for(options);
  std::size_t refused = 0;
  for (const int pid : options.pids) {
    if (std::ranges::find(orphans, pid, &orphan::pid) != orphans.end()) continue;
    std::fprintf(
        stderr, "error: %d is no process that a dead run of Coppice left; see coppice reap\n", pid);
    ++refused;
  }
  return refused;
}

}  // namespace

int reap(const reap_options& options) {
  const std::size_t refused = refuse_others(options);
  if (refused == 0 && !options.yes) return list(options);
  if (refused > 0) return 1;
  const std::size_t staying = end_processes(options) + remove_files(options);
  if (staying == 0) std::printf("nothing is left behind\n");
  return staying == 0 ? 0 : 1;
}

}  // namespace coppice::cli
