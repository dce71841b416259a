// SPDX-License-Identifier: Apache-2.0
// `coppice reap`: what a crashed run left behind.
#pragma once

#include <vector>

namespace coppice::cli {

struct reap_options {
  bool yes = false;            // Else it is only listed.
  std::vector<int> pids = {};  // Only these processes, and no files; empty: all.
  bool files_only = false;     // No processes.
};

/// Lists orphans and dead socket files, or clears them. The exit status: 0 if nothing is left, 1 if
/// something is, be it because nobody said yes.
int reap(const reap_options& options);

}  // namespace coppice::cli
