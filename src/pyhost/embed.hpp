// SPDX-License-Identifier: Apache-2.0
// CPython in this process: brought up by us, or found running, and then left alone.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

struct _object;  // PyObject, without Python.h.

namespace coppice::py {

struct embed_options {
  // The interpreter to be like: sys.executable, sys.prefix, sys.path and site-packages come out as
  // if this file were run by hand, a venv's python included. Empty: libpython's own idea.
  std::string executable{};

  // Extension modules that live in our own library, by PyImport_AppendInittab.
  struct module {
    const char* name;  // Must outlive the process.
    _object* (*init)();
  };
  std::vector<module> modules{};
};

/// The hold of this process on CPython. Guests need one to be alive.
///
/// What it promises when Coppice is the host: the main interpreter is initialised without signal
/// handlers, and from then on stays idle and detached for life: no code of ours or of a guest ever
/// runs in it, its GIL is free, so that no guest waits for it.
///
///     auto python = embedding::up({.executable = found.executable});
///     guest_host host(*python);
///     …
///     python->finalize();   // on the same thread, once no guest is left
///
/// When Python is the host there is nothing to bring up: attach() only closes the traps of the main
/// interpreter (guest_hooks.hpp) and never finalises anything.
///
/// # Why not finalise in the destructor?
/// Py_FinalizeEx waits for ever for a thread that holds its GIL in native code. With a guest in
/// quarantine the process has to leave by _exit (DESIGN.md section 8); the owner decides.
///
/// Owner: the runtime. Thread: see each function. At most one at a time in a process.
class embedding {
 public:
  /// Brings CPython up; if it is up already, is attach(). Throws backend_unavailable, in one
  /// sentence, for a free-threaded CPython, one older than 3.14.1, another minor version than this
  /// library was built for, or a failing initialisation (its own text is part of the sentence).
  /// Detaches.
  static std::unique_ptr<embedding> up(const embed_options& options);

  /// Python is the host. REQUIRES: the calling thread is attached to the main interpreter; it still
  /// is afterwards. Throws like up().
  static std::unique_ptr<embedding> attach();

  embedding(const embedding&) = delete;
  embedding& operator=(const embedding&) = delete;
  ~embedding();

  bool coppice_is_host() const noexcept { return main_thread_state_ != nullptr; }

  /// Ends CPython if it was us who brought it up and no guest is left, quarantined ones included.
  /// True: it is gone, or never was ours. False: left as it is, because a guest is still there.
  /// REQUIRES: the thread that called up(); all guest_hosts are gone or hold only quarantine.
  bool finalize();

 private:
  explicit embedding(void* main_thread_state) : main_thread_state_(main_thread_state) {}

  void* main_thread_state_;  // PyThreadState*; null: Python is the host, or finalised.
  std::thread::id owner_thread_;
};

/// The running CPython, as "3.14.7"; and why it cannot host guests, empty if it can. No GIL needed.
std::string running_python_version();
std::string running_python_refusal();

/// Does tracemalloc trace this process? CPython makes an interpreter under the lock of the list of
/// all of them, and the hook takes that again for a thread without a thread state: it, and with it
/// every other interpreter, would wait for ever. Needs no GIL, and does nothing where it is off.
bool is_traced() noexcept;

}  // namespace coppice::py
