// SPDX-License-Identifier: Apache-2.0
#include "core/tree_walk.hpp"

#include <algorithm>

#include "coppice/errors.hpp"
#include "coppice/nursery.hpp"

namespace coppice::core {

namespace {

constexpr std::size_t tasks_per_look_at_clock = 8;

}  // namespace

// What a snapshot reads of classes that show it to nobody else.
struct tree_access {
  static detail::task_node* first_child(const nursery& n) noexcept { return n.children_.first(); }

  /// The next task in preorder that is not below `task`; null: `task` and what follows was all.
  static detail::task_node* after_subtree(const detail::task_node& task) noexcept {
    for (const auto* at = &task; at->owner != nullptr; at = &at->owner->parent_) {
      const nursery& n = *at->owner;
      if (auto* sibling = n.children_.after(*at)) return sibling;
      const auto& all = n.parent_.nurseries;
      for (auto* m = all.after(n); m != nullptr; m = all.after(*m))
        if (auto* child = first_child(*m)) return child;
    }
    return nullptr;
  }
  static detail::task_node* after(const detail::task_node& task) noexcept {
    for (auto* n = task.nurseries.first(); n != nullptr; n = task.nurseries.after(*n))
      if (auto* child = first_child(*n)) return child;
    return after_subtree(task);
  }
  static bool is_in_subtree(const detail::task_node& top, const detail::task_node* task) noexcept {
    while (task != &top && task->owner != nullptr) task = &task->owner->parent_;
    return task == &top;
  }

  /// `walk` stays where it stands whatever happens to the tasks, until it ends or the run does.
  static void keep(loop& l, detail::tree_cursor& walk) noexcept {
    if (!walk.linked()) l.walks_.push_back(walk);
  }
  static detail::task_node* root(const loop& l) noexcept { return l.root_; }

  static raw_scope copy(const cancel_scope& s, time_point now) {
    raw_scope raw;
    raw.info.name = s.name_;
    raw.limit_of = s.limit_of_;
    raw.limit = s.limit_;
    if (s.deadline_ != time_point::max()) raw.info.deadline_in = s.deadline_ - now;
    raw.info.shield = s.shield_;
    raw.info.cancelled = s.effective_;
    if (s.effective_) {
      const auto cause = s.cause();
      raw.info.cancelled_by = cause->text;
      raw.info.canceller = cause->canceller;
    }
    return raw;
  }

  static void copy_scopes(const detail::task_node& task, time_point now, raw_task& to) {
    std::vector<const cancel_scope*> own;  // Innermost first.
    for (const auto* s = task.scope; s != nullptr && &s->task_ == &task; s = s->parent_)
      own.push_back(s);
    std::reverse(own.begin(), own.end());
    for (const auto* s : own) to.scopes.push_back(copy(*s, now));
    for (auto* n = task.nurseries.first(); n != nullptr; n = task.nurseries.after(*n)) {
      const auto at = std::find(own.begin(), own.end(), &n->scope_) - own.begin();
      to.info.nurseries.push_back(
          {.name = n->name(), .tasks = n->children_count_, .scope = static_cast<std::size_t>(at)});
      to.nurseries.push_back(n);
    }
  }

  static raw_task copy(const detail::task_node& task, time_point now) {
    raw_task raw;
    raw.info.id = task.id;
    raw.info.parent = task.owner != nullptr ? task.owner->parent_.id : 0;
    raw.nursery = task.owner;
    raw.info.name = task.name;
    const bool suspended = task.state != detail::task_state::running;
    if (suspended) raw.function = *static_cast<void* const*>(task.resume_at.address());
    if (!suspended) raw.info.state = task_info::phase::running;
    if (task.state == detail::task_state::parked) {
      raw.info.state = task_info::phase::waiting;
      raw.info.waits_for = task.waits_for->describe();
      raw.info.waits_since = now - task.waits_since;
    }
    copy_scopes(task, now, raw);
    return raw;
  }
};

bool tree_walk::slice(loop& l, slice_limit most) {
  using steady = std::chrono::steady_clock;
  const auto began = steady::now();
  const time_point now = l.now();
  if (!begun_) next = tree_access::root(l);
  begun_ = true;
  if (next != nullptr && next->state == detail::task_state::done) next = nullptr;  // The root.
  for (std::size_t seen = 0; next != nullptr;) {
    if (tree_.tasks.size() == tasks_max_) {
      tree_.cut = true;
      next = nullptr;
      break;
    }
    tree_.tasks.push_back(tree_access::copy(*next, now));
    next = tree_access::after(*next);
    if (++seen >= most.tasks) break;
    if (seen % tasks_per_look_at_clock == 0 && steady::now() - began >= most.time) break;
  }
  const duration took = steady::now() - began;
  ++tree_.slices;
  tree_.slice_max = std::max(tree_.slice_max, took);
  tree_.loop_time += took;
  if (next == nullptr) {
    tree_.quarantine = l.quarantine();
    return true;
  }
  tree_access::keep(l, *this);
  return false;
}

void posted_walk::run() {
  std::unique_ptr<posted_walk> self(this);
  if (to_->given_up.load()) return;
  try {
    loop& here = *loop::current();
    if (walk_.slice(here, {})) return to_->tree.set_value(walk_.take());
    if (here.post(*this)) static_cast<void>(self.release());
  } catch (...) {  // No memory. It must not end the loop's run.
    to_->tree.set_exception(std::current_exception());
  }
}

void posted_walk::drop() noexcept {
  const std::unique_ptr<posted_walk> self(this);
  to_->tree.set_value(std::nullopt);
}

}  // namespace coppice::core

namespace coppice::detail {

void scheduler::move_cursors(task_node& task) noexcept {
  for (auto* walk = walks_.first(); walk != nullptr; walk = walks_.after(*walk)) {
    if (walk->next != nullptr && core::tree_access::is_in_subtree(task, walk->next))
      walk->next = core::tree_access::after_subtree(task);
  }
}

}  // namespace coppice::detail
