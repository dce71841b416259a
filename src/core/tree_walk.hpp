// SPDX-License-Identifier: Apache-2.0
// Copies a loop's task tree, on its thread, a slice at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <future>
#include <memory>
#include <optional>
#include <vector>

#include "coppice/introspect.hpp"
#include "core/inbox.hpp"
#include "core/loop.hpp"

namespace coppice::core {

/// What a slice copies of a scope: the name of a time limit is spelt out by the asker.
struct raw_scope {
  scope_info info;
  const char* limit_of = nullptr;  // A literal.
  duration limit{};
};

struct raw_task {
  task_info info;
  const void* function = nullptr;  // The coroutine's, for info.coroutine.
  const void* nursery = nullptr;   // The one that runs it, an address to compare.
  std::vector<raw_scope> scopes;
  std::vector<const void*> nurseries;  // The addresses of info.nurseries.
};

/// A deque: a vector would copy what there is when it grows, in one slice.
using raw_tasks = std::deque<raw_task>;

struct raw_tree {
  raw_tasks tasks;
  std::vector<abandoned_work> quarantine;
  bool cut = false;
  std::size_t slices = 0;
  duration slice_max{};
  duration loop_time{};
};

struct slice_limit {
  duration time = std::chrono::microseconds(200);  // Looked at every few tasks.
  std::size_t tasks = static_cast<std::size_t>(-1);
};
inline constexpr slice_limit one_slice{.time = duration::max()};  // All that there is.

/// The walk over the tasks of one loop, in preorder. Where it stands it is told of by the scheduler
/// when tasks end or change hands, so nothing is locked, marked or numbered meanwhile.
///
/// Owner: one object. Thread: the loop's.
class tree_walk : public detail::tree_cursor {
 public:
  explicit tree_walk(std::size_t tasks_max) : tasks_max_(tasks_max) {}

  /// One more slice, of at least one task; the first begins at the root. True: that was the last.
  bool slice(loop& l, slice_limit most);
  raw_tree take() { return std::move(tree_); }

 private:
  const std::size_t tasks_max_;
  bool begun_ = false;
  raw_tree tree_;
};

/// A walk that was asked for from another thread: posts itself from slice to slice.
class posted_walk final : public inbox_item {
 public:
  /// What the asker keeps. `given_up`: nobody waits any more.
  struct answer {
    std::promise<std::optional<raw_tree>> tree;  // Nothing: the loop has ended.
    std::atomic<bool> given_up{false};
  };

  posted_walk(std::shared_ptr<answer> to, std::size_t tasks_max)
      : to_(std::move(to)), walk_(tasks_max) {}

  const std::shared_ptr<answer>& to() const noexcept { return to_; }
  void run() override;
  void drop() noexcept override;

 private:
  const std::shared_ptr<answer> to_;  // Shared with the asker, who may have given up.
  tree_walk walk_;
};

}  // namespace coppice::core
