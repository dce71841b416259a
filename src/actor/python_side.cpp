// SPDX-License-Identifier: Apache-2.0
#include "actor/python_side.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <atomic>
#include <filesystem>
#include <mutex>
#include <utility>

#include "actor/find_python.hpp"
#include "coppice/errors.hpp"

namespace coppice::tree {

namespace fs = std::filesystem;

namespace {

// Trivially destructible, all of it: the Python side lives until the process ends.
std::atomic<python_side*> loaded{nullptr};
// tidy: allow lock: any thread may be the first to need Python, and has to wait for it
std::mutex loading;
const std::string* failed = nullptr;                   // Guarded by `loading`, as is the next.
const std::vector<std::string>* child_argv = nullptr;  // Asking a Python takes longer than a start.

[[noreturn]] void refuse(const std::string& why) {
  throw backend_unavailable("no Python actors in this program: " + why);
}

/// The folder of the library or program that holds this function.
fs::path own_folder() {
  Dl_info me{};
  if (::dladdr(reinterpret_cast<const void*>(&load_python), &me) == 0 || !me.dli_fname) return {};
  std::error_code ignored;
  return fs::canonical(me.dli_fname, ignored).parent_path();
}

bool is_there(const fs::path& file) {
  std::error_code ignored;
  return fs::exists(file, ignored);
}

std::string library_for(const py::python_description& python) {
  const std::string name = fmt::format("libcoppice_py{}.{}.so", python.major, python.minor);
  for (const auto& at : {own_folder() / name, own_folder() / "lib" / name})
    if (is_there(at)) return at.string();
  return name;
}

void* open_library(const std::string& path, int flags, const std::string& advice) {
  if (void* handle = ::dlopen(path.c_str(), flags)) return handle;
  const char* why = ::dlerror();
  refuse(fmt::format("{} does not load: {}{}", path, why ? why : "no reason given", advice));
}

py::python_description usable_python() {
  py::python_description python = py::find_python();
  if (auto why = py::refusal(python)) refuse(*why);
  return python;
}

python_side* load() {
  const py::python_description python = usable_python();
  open_library(python.libpython, RTLD_NOW | RTLD_GLOBAL, "");
  void* side = open_library(
      library_for(python), RTLD_NOW | RTLD_LOCAL,
      fmt::format("; build Coppice for Python {}.{}, or set $PYTHON to one that it was built for",
                  python.major, python.minor));
  auto* make =
      reinterpret_cast<decltype(&coppice_python_side)>(::dlsym(side, "coppice_python_side"));
  if (!make) refuse("libcoppice_py has no entry point; reinstall Coppice");
  return make(python.executable.c_str());
}

/// Asks for Python when somebody asks for it.
class lazy_subint final : public spawn::backend {
 public:
  explicit lazy_subint(process_runtime& rt) : rt_(rt) {}

  std::string_view key() const override { return "subint"; }
  spawn::capabilities can() const override {
    return {.native = false, .python = true, .in_process = true, .can_be_killed = false};
  }
  std::optional<std::string> refusal(const spawn::child_spec& spec) override {
    if (spec.native)
      return "subint: runs Python modules only; use 'thread' or 'process' for actors in C++";
    try {
      return real().refusal(spec);
    } catch (const backend_unavailable& e) {
      return e.what();
    }
  }
  std::unique_ptr<spawn::child> start(const spawn::child_spec& spec,
                                      std::shared_ptr<spawn::child_observer> observer) override {
    return real().start(spec, std::move(observer));
  }
  std::optional<spawn::force_test> forced_stops(bool may_run) override {
    return real().forced_stops(may_run);
  }
  void shut_down() override {
    std::lock_guard lock(mutex_);
    if (real_) real_->shut_down();
  }
  void stock_up(const spawn::stock_order& order) override { real().stock_up(order); }
  void clear_stock() noexcept override {
    if (auto* backend = real_if_there()) backend->clear_stock();
  }
  void describe_stock(base::tree_writer& w) const override {
    if (const auto* backend = real_if_there()) backend->describe_stock(w);
  }
  std::vector<std::string> quarantined_stock() const override {
    const auto* backend = real_if_there();
    return backend ? backend->quarantined_stock() : std::vector<std::string>();
  }

 private:
  spawn::backend& real() {
    std::lock_guard lock(mutex_);
    if (!real_) real_ = load_python().make_subint(rt_);
    return *(there_ = real_.get());
  }
  // Never waits for Python to load.
  spawn::backend* real_if_there() const noexcept { return there_; }

  process_runtime& rt_;
  // tidy: allow lock: any thread may be the first to need guests, and has to wait for them
  std::mutex mutex_;
  std::unique_ptr<spawn::backend> real_;  // Guarded by mutex_; constant once it is there.
  std::atomic<spawn::backend*> there_{nullptr};
};

}  // namespace

python_side& load_python() {
  if (python_side* side = loaded.load()) return *side;
  std::lock_guard lock(loading);
  if (python_side* side = loaded.load()) return *side;
  if (failed) throw backend_unavailable(*failed);
  try {
    loaded = load();
  } catch (const std::exception& e) {
    failed = new std::string(e.what());  // tidy: allow new: remembered until the process ends
    throw backend_unavailable(*failed);
  }
  return *loaded.load();
}

std::string python_package_path() {
  const fs::path above = own_folder().parent_path();
  for (const fs::path& folder : {own_folder() / "python", above / "python", above})
    if (is_there(folder / "coppice" / "_child.py")) return folder.string();
  return COPPICE_PACKAGE_PATH;
}

std::vector<std::string> python_child_program() {
  std::lock_guard lock(loading);
  if (child_argv) return *child_argv;
  const std::string package = python_package_path();
  if (!is_there(fs::path(package) / "coppice" / "_child.py"))
    throw backend_unavailable("process: the package coppice is not in " + package +
                              ", so no Python child can be started; reinstall it");
  std::vector<std::string> argv = {usable_python().executable, "-P",
                                   package + "/coppice/_child.py"};
  child_argv = new std::vector(argv);  // tidy: allow new: remembered until the process ends
  return argv;
}

std::vector<std::string> python_zygote_program() {
  std::vector<std::string> argv = python_child_program();
  argv.back() = python_package_path() + "/coppice/_zygote.py";
  return argv;
}

std::unique_ptr<spawn::backend> make_lazy_subint_backend(process_runtime& rt) {
  return std::make_unique<lazy_subint>(rt);
}

int run_script(const std::vector<std::string>& argv, const spawn::selection& selected) {
  return load_python().run_script(argv, selected);
}

std::size_t live_interpreters() noexcept {
  python_side* side = loaded.load();
  return side ? side->live_interpreters() : 0;
}

std::string python_standard_library() { return load_python().standard_library(); }

}  // namespace coppice::tree
