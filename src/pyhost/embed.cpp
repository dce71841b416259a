// SPDX-License-Identifier: Apache-2.0
#include "pyhost/embed.hpp"

#include <cstring>

#include "base/assert.hpp"
#include "coppice/errors.hpp"
#include "pyhost/guest_hooks.hpp"
#include "pyhost/host_core.hpp"
#include "pyhost/python.hpp"

namespace coppice::py {
namespace {

std::string text_of(const PyStatus& status) {
  std::string text = status.func ? std::string(status.func) + ": " : std::string();
  return text + (status.err_msg ? status.err_msg : "no reason given");
}

[[noreturn]] void refuse(const std::string& why) {
  throw backend_unavailable("no Python actors in this process: " + why);
}

void close_traps_of_main() {
  if (!install_audit_hook()) {
    PyErr_Clear();
    refuse(
        "an audit hook of this process forbids ours, which guards os.fork; start Coppice before "
        "it");
  }
  if (!install_main_hooks()) {
    PyErr_Clear();
    refuse("out of memory");
  }
}

// PyConfig has to be cleared on every way out.
struct config_guard {
  PyConfig config;
  config_guard() { PyConfig_InitPythonConfig(&config); }
  config_guard(const config_guard&) = delete;
  ~config_guard() { PyConfig_Clear(&config); }
};

void check(const PyStatus& status) {
  if (PyStatus_Exception(status)) refuse("CPython did not start: " + text_of(status));
}

}  // namespace

std::string running_python_version() {
  return std::to_string(Py_Version >> 24) + "." + std::to_string((Py_Version >> 16) & 0xff) + "." +
         std::to_string((Py_Version >> 8) & 0xff);
}

bool is_traced() noexcept {
  constexpr unsigned no_domain = 0xC0991CE;
  return PyTraceMalloc_Untrack(no_domain, 0) != -2;
}

std::string running_python_refusal() {
  const std::string version = running_python_version();
  if (std::strstr(Py_GetVersion(), "free-threading")) {
    return "CPython " + version +
           " is a free-threaded build, where a running interpreter cannot be stopped; use the "
           "ordinary "
           "build (python3.14 instead of python3.14t)";
  }
  if (Py_Version < 0x030E0100) {
    return "CPython " + version +
           " aborts the process when an interpreter with threads ends; use 3.14.1 or later";
  }
  if ((Py_Version >> 16) != (PY_VERSION_HEX >> 16)) {
    return "CPython " + version + " is running, but this library was built for " +
           std::to_string(PY_MAJOR_VERSION) + "." + std::to_string(PY_MINOR_VERSION) +
           "; load the one of its version";
  }
  return {};
}

std::unique_ptr<embedding> embedding::up(const embed_options& options) {
  if (const std::string why = running_python_refusal(); !why.empty()) refuse(why);
  if (Py_IsInitialized()) {
    const PyGILState_STATE held = PyGILState_Ensure();
    struct release {
      PyGILState_STATE state;
      ~release() { PyGILState_Release(state); }
    } const at_end{held};
    return attach();
  }
  if (!install_audit_hook())
    refuse("an audit hook of this process forbids ours, which guards os.fork");
  for (const embed_options::module& m : options.modules) {
    if (PyImport_AppendInittab(m.name, m.init) != 0) refuse("out of memory");
  }
  config_guard guard;
  PyConfig& config = guard.config;
  config.install_signal_handlers = 0;
  config.parse_argv = 0;
  // stdin, stdout and stderr are the program's, not ours to configure.
  config.configure_c_stdio = 0;
  config.tracemalloc = 0;  // Under it no guest can start, whatever the environment says.
  if (!options.executable.empty()) {
    // getpath works from program_name, as it does from argv[0]: a venv's python finds its
    // pyvenv.cfg.
    check(PyConfig_SetBytesString(&config, &config.program_name, options.executable.c_str()));
    check(PyConfig_SetBytesString(&config, &config.executable, options.executable.c_str()));
  }
  check(Py_InitializeFromConfig(&config));
  close_traps_of_main();
  // PyThreadState_Get() could not be asked later: from here on the main interpreter is nobody's.
  // tidy: allow new: its constructor is private, so make_unique cannot
  std::unique_ptr<embedding> self(new embedding(PyEval_SaveThread()));
  self->owner_thread_ = std::this_thread::get_id();
  return self;
}

std::unique_ptr<embedding> embedding::attach() {
  if (const std::string why = running_python_refusal(); !why.empty()) refuse(why);
  COPPICE_ASSERT(Py_IsInitialized() && PyInterpreterState_Get() == PyInterpreterState_Main(),
                 "embedding::attach() on a thread that is not attached to the main interpreter");
  close_traps_of_main();
  // tidy: allow new: its constructor is private, so make_unique cannot
  return std::unique_ptr<embedding>(new embedding(nullptr));
}

embedding::~embedding() = default;

bool embedding::finalize() {
  if (!main_thread_state_) return true;
  COPPICE_ASSERT(owner_thread_ == std::this_thread::get_id(),
                 "CPython has to be finalised on the thread that brought it up");
  if (live_interpreters().load() != 0) return false;
  PyEval_RestoreThread(static_cast<PyThreadState*>(main_thread_state_));
  main_thread_state_ = nullptr;
  Py_FinalizeEx();
  forget_audit_hook();
  return true;
}

}  // namespace coppice::py
