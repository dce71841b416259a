// SPDX-License-Identifier: Apache-2.0
// CPython and its guests as one runtime of this process uses them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "actor/process_runtime.hpp"
#include "port/guest_port.hpp"
#include "pyhost/embed.hpp"
#include "pyhost/guest_host.hpp"
#include "spawn/backend.hpp"
#include "spawn/forkserver/zygote_client.hpp"

namespace coppice::py {

/// Everything that runtimes of a process share on the Python side, made anew for each of them.
///
/// Owner: shared by a runtime's backends and whoever opened it; it ends on whichever of their
/// threads is last. Thread: any.
class python_host {
 public:
  /// `python` was brought up or attached to by the caller, who keeps it alive. Never throws: where
  /// guests are impossible, refusal() says why.
  python_host(embedding* python, std::string refusal, std::string executable,
              std::string package_path);

  const std::string& executable() const noexcept { return executable_; }
  const std::string& package() const noexcept { return package_; }
  const std::string& refusal() const noexcept { return refusal_; }
  const std::shared_ptr<guest_host>& guests() const noexcept { return guests_; }  // Null: refused.

  /// The interpreter and the script for Python children of the `process` backend.
  std::vector<std::string> child_program() const;

  /// The same of a zygote: the program that serves on its fd 3.
  std::vector<std::string> zygote_program(const spawn::zygote_preload& preload) const;

  /// `join`: see guest_entry_options.
  std::unique_ptr<spawn::backend> make_subint(
      tree::process_runtime& rt,
      std::function<void(const std::shared_ptr<port::guest_port>&)> join = {}) const;

 private:
  std::vector<std::string> program_of(const char* key, const char* script) const;

  const std::string executable_;
  const std::string package_;
  std::string refusal_;
  std::shared_ptr<guest_host> guests_;  // Shared: abandoned guests report to it after the runtime.
};

}  // namespace coppice::py
