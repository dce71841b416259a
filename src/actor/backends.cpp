// SPDX-License-Identifier: Apache-2.0
#include "actor/backends.hpp"

#include <unistd.h>

#include <array>
#include <utility>

#include "actor/native_actor.hpp"
#include "actor/python_side.hpp"
#include "coppice/errors.hpp"
#include "ipc/memory_link.hpp"
#include "spawn/forkserver/forkserver.hpp"
#include "spawn/process/process.hpp"
#include "spawn/thread/thread.hpp"

namespace coppice {

namespace tree {

msg::aid aid_of(const uid& who, bool is_registrar) {
  msg::aid a;
  a.name = who.name;
  a.uuid = who.uuid;
  a.pid = ::getpid();
  a.is_registrar = is_registrar;
  a.extensions = msg::extensions{.ext = {"credit"}};
  return a;
}

msg::aid aid_of_guest(const uid& who, bool is_registrar) {
  msg::aid a = aid_of(who, is_registrar);
  a.extensions->ext.emplace_back("ping");
  return a;
}

std::vector<std::string> tractor_child_program(std::string executable) {
  return {std::move(executable), "-m", "tractor._child"};
}

namespace {

std::string own_executable() {
  char path[4096];
  const auto n = ::readlink("/proc/self/exe", path, sizeof path);
  if (n <= 0)
    throw backend_unavailable(
        "process: /proc is not mounted, so this program cannot be "
        "found again; mount it");
  return std::string(path, static_cast<std::size_t>(n));
}

/// A native actor on the calling thread, until it is told to end.
exit_report thread_main(process_runtime& rt, const std::vector<exposed>& endpoints,
                        const spawn::child_spec& spec) {
  exit_report report;
  try {
    auto loop = std::make_shared<core::loop>(rt.loop_options(spec.self.name));
    auto self = std::make_shared<native_actor>(rt, loop, spec.self, endpoints);
    std::function<void()> connect = [&] {
      rt.lookups().is_here(self);
      ipc::connect_memory(self->self(), self, spec.parent, spec.parent_sink);
    };
    loop->run(self->serve(spec.parent.uuid, std::move(connect)));
    if (self->lost_parent()) {
      report.how = exit_report::cause::failed;
      report.detail = self->cancel_reason();
    }
  } catch (...) {
    report.how = exit_report::cause::failed;
    report.detail = describe_exception(std::current_exception());
  }
  return report;
}

}  // namespace

std::span<const std::string_view> standard_keys() noexcept {
  static constexpr std::array<std::string_view, 6> keys = {
      "thread", "process", "subint", "forkserver", "subint_fork", "subint_forkserver"};
  return keys;
}

std::vector<std::unique_ptr<spawn::backend>> standard_backends(process_runtime& rt,
                                                               backend_choices choices) {
  std::vector<std::unique_ptr<spawn::backend>> all;
  all.push_back(spawn::make_thread_backend(
      [&rt, endpoints = choices.endpoints](const spawn::child_spec& spec) {
        return thread_main(rt, endpoints, spec);
      }));
  spawn::process_programs programs;
  programs.native = [can = choices.reaches_run_main]() -> std::vector<std::string> {
    if (!can)
      throw backend_unavailable(
          "process: a native child runs this program again and must reach "
          "run_main(); use it, or the backend 'thread'");
    return {own_executable(), "--coppice-child"};
  };
  programs.python = choices.python_child ? std::move(choices.python_child) : &python_child_program;
  all.push_back(spawn::make_process_backend(rt.control(), std::move(programs)));
  all.push_back(choices.make_subint ? choices.make_subint(rt) : make_lazy_subint_backend(rt));
  if (!choices.zygote.program)
    choices.zygote.program = [preload = rt.options().forkserver_preload] {
      return spawn::with_preload(python_zygote_program(), preload);
    };
  const auto zygote =
      std::make_shared<spawn::zygote_client>(rt.control(), std::move(choices.zygote));
  using spawn::forked_into;
  for (const auto& [key, where] :
       {std::pair{spawn::forkserver, forked_into::main_interpreter},
        std::pair{spawn::subint_fork, forked_into::main_interpreter},
        std::pair{spawn::subint_forkserver, forked_into::sub_interpreter}})
    all.push_back(spawn::make_forkserver_backend(key.text(), where, rt.control(), zygote));
  return all;
}

}  // namespace tree
}  // namespace coppice
