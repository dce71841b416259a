// SPDX-License-Identifier: Apache-2.0
// The runtime of a process whose program is Python, and what its threads do about the GIL.
#pragma once

#include <exception>
#include <functional>
#include <memory>

#include "actor/process_runtime.hpp"
#include "pyext/python_host.hpp"
#include "pyhost/embed.hpp"
#include "pyhost/python.hpp"

namespace coppice::py {

/// A Python program with actors: what root and process child have in common. Members end in the
/// order that they need.
struct program {
  std::unique_ptr<embedding> python;  // Null: guests are impossible here; the host says why.
  std::shared_ptr<python_host> host;  // Shared with the subint backend and the exit guard.
  std::unique_ptr<tree::process_runtime> runtime;
};

/// `zygote`: of a forked child, its connection to the zygote that it came from; else null.
/// REQUIRES: attached to the main interpreter. Throws coppice::error.
program open_program(tree::process_options options,
                     std::shared_ptr<base::unique_fd> zygote = nullptr);

/// Guests may need this GIL to end. REQUIRES: attached; so it is afterwards.
bool stop_without_gil(tree::process_runtime& rt);

/// Runs it detached, and gives what it threw.
template <class F>
std::exception_ptr without_gil(F&& f) {
  std::exception_ptr failure;
  PyThreadState* mine = PyEval_SaveThread();
  try {
    f();
  } catch (...) {
    failure = std::current_exception();
  }
  PyEval_RestoreThread(mine);
  return failure;
}

/// Calls `f` with the runtime of this process, or, where none is open, with one that is opened for
/// it and stopped again: then it has to be the main interpreter that asks. Without the GIL,
/// whatever `f` does.
void with_runtime(const std::function<void(tree::process_runtime&)>& f);

}  // namespace coppice::py
