// SPDX-License-Identifier: Apache-2.0
// Is everything as it was? Threads, child processes, descriptors, socket files.
#pragma once

#include <cstddef>
#include <string>

namespace coppice::conformance {

struct resources {
  std::size_t threads = 0, processes = 0, fds = 0, socket_files = 0;
  std::string text() const;
};
resources count_resources();

/// Fails the test if anything is above `before` for longer than a second: the kernel removes what
/// has ended a moment after it says so.
void expect_settled(const resources& before);

}  // namespace coppice::conformance
