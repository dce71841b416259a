// SPDX-License-Identifier: Apache-2.0
// What one task has until it gives it back: a lock, a token.
#pragma once

#include "coppice/detail/list.hpp"
#include "coppice/detail/task_node.hpp"

namespace coppice::detail {

/// Who has it. Linked into that task, which must not end before: a pointer to a task that has ended
/// may be that of a new one, and a dump would follow it.
class holding : public list_link<of_holder> {
 public:
  explicit holding(const void* what) noexcept : what_(what) {}

  void give_to(task_node& task) noexcept {
    task_ = &task;
    task.holds.push_back(*this);
  }
  void give_back() noexcept {
    unlink();
    task_ = nullptr;
  }

  task_node* task() const noexcept { return task_; }  // Null: nobody has it.
  bool is_of(const task_node* task) const noexcept { return task != nullptr && task == task_; }

  /// Does `task` have a part of `what`?
  static bool any(const task_node& task, const void* what) noexcept {
    for (const holding* h = task.holds.first(); h != nullptr; h = task.holds.after(*h)) {
      if (h->what_ == what) return true;
    }
    return false;
  }

 private:
  const void* const what_;
  task_node* task_ = nullptr;
};

/// The task whose code runs on this thread; null outside of every task.
task_node* running_task() noexcept;

}  // namespace coppice::detail
