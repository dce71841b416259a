// SPDX-License-Identifier: Apache-2.0
#include "pyext/python_host.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "coppice/errors.hpp"
#include "pyext/guest_entry.hpp"
#include "pyext/warm_up.hpp"

namespace coppice::py {

namespace {
bool holds_package(const std::filesystem::path& folder) {
  std::error_code ignored;
  return std::filesystem::exists(folder / "coppice" / "_child.py", ignored);
}
}  // namespace

python_host::python_host(embedding* python, std::string refusal, std::string executable,
                         std::string package)
    : executable_(std::move(executable)),
      package_(std::move(package)),
      refusal_(std::move(refusal)) {
  if (!python) return;
  try {
    guests_ = std::make_shared<guest_host>(*python);
  } catch (const std::exception& e) {
    refusal_ = e.what();
  }
}

std::vector<std::string> python_host::child_program() const {
  return program_of("process", "_child.py");
}

std::vector<std::string> python_host::zygote_program(const spawn::zygote_preload& preload) const {
  return spawn::with_preload(program_of("forkserver", "_zygote.py"), preload);
}

std::vector<std::string> python_host::program_of(const char* key, const char* script) const {
  if (executable_.empty())
    throw backend_unavailable(
        fmt::format("{}: this Python does not know its own executable (sys.executable), so no "
                    "Python child can be started",
                    key));
  if (!holds_package(package_))
    throw backend_unavailable(fmt::format(
        "{}: the package coppice is not in {}, so no Python child can be started; reinstall it",
        key, package_));
  return {executable_, "-P", fmt::format("{}/coppice/{}", package_, script)};
}

std::unique_ptr<spawn::backend> python_host::make_subint(
    tree::process_runtime& rt,
    std::function<void(const std::shared_ptr<port::guest_port>&)> join) const {
  guest_entry_options options;
  options.calls = rt.options().calls;
  options.package_path = package_;
  options.join = std::move(join);
  options.on_here = [&rt](const std::shared_ptr<port::guest_port>& port) {
    rt.lookups().is_here(port);
  };
  options.on_gone = [control = rt.control()->ref(), &rt](std::shared_ptr<port::guest_port> port) {
    // Its listener, if it ever had one. Dropped when the loop has ended: so have its listeners.
    control.post([&rt, port] { rt.actor_ended(*port); });
  };
  return spawn::make_subint_backend(guests_, refusal_, make_guest_entry(std::move(options)),
                                    make_warm_entry(package_));
}

}  // namespace coppice::py
