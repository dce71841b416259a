// SPDX-License-Identifier: Apache-2.0
// The task tree as text.
#include <cstdio>

#include "base/assert.hpp"
#include "base/symbol.hpp"
#include "coppice/errors.hpp"
#include "coppice/nursery.hpp"
#include "core/assert_dump.hpp"
#include "core/loop.hpp"
#include "core/text.hpp"

namespace coppice::core {

// The first word of a coroutine frame is its resume function, on g++ and clang.
std::string to_text(const detail::task_node& task) {
  if (!task.name.empty()) return "'" + task.name + "'";
  // The coroutine in which a running task went on may have ended meanwhile.
  const bool suspended =
      task.state == detail::task_state::ready || task.state == detail::task_state::parked;
  if (!suspended || !task.resume_at) return "(not named)";
  void* const function = *static_cast<void* const*>(task.resume_at.address());
  std::string name = base::function_at(function);
  if (!name.empty()) return name;
  char text[32];
  std::snprintf(text, sizeof text, "(coroutine %p)", function);
  return text;
}

namespace {

std::string state_of(const detail::task_node& task) {
  switch (task.state) {
    case detail::task_state::ready:
      return "ready";
    case detail::task_state::running:
      return "running";
    case detail::task_state::parked:
      return "waits for " + task.waits_for->describe();
    case detail::task_state::done:
      return "done";
  }
  return "?";
}

std::string scope_of(const detail::task_node& task) {
  if (task.scope == nullptr) return {};
  if (task.scope->cancelled()) return ", cancelled by " + task.scope->cause()->text;
  const time_point deadline = task.scope->effective_deadline();
  if (deadline == time_point::max()) return {};
  return ", deadline in " + to_text(deadline - task.loop.now());
}

void write_task(base::tree_writer& out, const detail::task_node& task) {
  out.line("task " + to_text(task) + ": " + state_of(task) + scope_of(task));
  const auto in_task = out.deeper();
  for (auto* n = task.nurseries.first(); n != nullptr; n = task.nurseries.after(*n)) {
    out.line("nursery '" + n->name() + "', " + std::to_string(n->task_count()) + " tasks" +
             (n->scope().cancel_called() ? ", cancelled: " + n->scope().reason() : ""));
    const auto in_nursery = out.deeper();
    const auto& children = n->children();
    for (auto* t = children.first(); t != nullptr; t = children.after(*t)) write_task(out, *t);
  }
}

void dump_current() noexcept {
  const loop* l = loop::current();
  if (l == nullptr) return;
  try {
    base::tree_writer out;
    l->describe(out);
    std::fputs(out.text().c_str(), stderr);
  } catch (...) {
    std::fputs("coppice: no memory to print the task tree\n", stderr);
  }
}

}  // namespace

void loop::describe(base::tree_writer& out) const {
  out.line("loop '" + name_ + "'" + (root_ == nullptr ? ", not running" : "") +
           (reactor_ ? ", with I/O" : "") + ", " + std::to_string(timers_.size()) + " timers");
  const auto in_loop = out.deeper();
  if (root_ != nullptr) write_task(out, *root_);
  for (const abandoned_work& w : quarantine()) out.line(to_text(w));
}

void set_assert_dump() noexcept { base::set_assert_hook(&dump_current); }

}  // namespace coppice::core

namespace coppice::detail {

void check_failed(const char* what, const std::source_location& at) noexcept {
  base::assert_failed(at.function_name(), what, at.file_name(), static_cast<int>(at.line()));
}

}  // namespace coppice::detail
