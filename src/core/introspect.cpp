// SPDX-License-Identifier: Apache-2.0
#include "coppice/introspect.hpp"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/symbol.hpp"
#include "coppice/errors.hpp"
#include "core/loop.hpp"
#include "core/pulse.hpp"
#include "core/text.hpp"
#include "core/tree_walk.hpp"

namespace coppice {

namespace {

using steady = std::chrono::steady_clock;

// How often a loop that does not answer is looked at, per bound.
constexpr int looks = 16;

/// Functions by address: many tasks go on in the same few.
class function_names {
 public:
  const std::string& of(const void* function) {
    const auto [at, is_new] = known_.try_emplace(function);
    if (is_new && function != nullptr) at->second = base::function_at(function);
    return at->second;
  }

 private:
  std::unordered_map<const void*, std::string> known_;
};

task_info finished(core::raw_task& raw, function_names& functions) {
  task_info info = std::move(raw.info);
  info.coroutine = functions.of(raw.function);
  for (core::raw_scope& s : raw.scopes) {
    s.info.name = core::name_of_scope(s.limit_of, s.limit, s.info.name);
    info.scopes.push_back(std::move(s.info));
  }
  return info;
}

// One that another nursery took over between two slices was seen twice: the later one holds.
void drop_seen_twice(core::raw_tasks& tasks) {
  std::unordered_map<std::uint64_t, const core::raw_task*> last;
  for (const core::raw_task& raw : tasks) last[raw.info.id] = &raw;
  if (last.size() == tasks.size()) return;
  core::raw_tasks once;
  for (core::raw_task& raw : tasks)
    if (last[raw.info.id] == &raw) once.push_back(std::move(raw));
  tasks = std::move(once);
}

void fill(task_tree& tree, core::raw_tree raw) {
  tree.how = raw.cut ? task_tree::outcome::cut : task_tree::outcome::complete;
  tree.quarantine = std::move(raw.quarantine);
  tree.slices = raw.slices;
  tree.slice_max = raw.slice_max;
  tree.loop_time = raw.loop_time;
  drop_seen_twice(raw.tasks);
  std::unordered_map<std::uint64_t, const core::raw_task*> by_id;
  for (const core::raw_task& t : raw.tasks) by_id[t.info.id] = &t;
  function_names functions;
  for (core::raw_task& t : raw.tasks) {
    if (const auto parent = by_id.find(t.info.parent); parent != by_id.end()) {
      const auto& open = parent->second->nurseries;
      const auto at = std::find(open.begin(), open.end(), t.nursery);
      if (at != open.end()) t.info.nursery = static_cast<std::size_t>(at - open.begin());
    }
    tree.tasks.push_back(finished(t, functions));
  }
}

/// What there is to say about a loop that did not answer: `unchanged_since` it looked like `beat`.
void blame(task_tree& tree, core::loop_pulse& pulse, const core::loop_pulse::beat& beat,
           steady::time_point unchanged_since, steady::time_point began) {
  using phase = core::loop_pulse::phase;
  if (beat.in == phase::not_running) {
    tree.how = task_tree::outcome::not_running;
    return;
  }
  const auto now = steady::now();
  const bool stalled = beat.in == phase::awake && now - unchanged_since >= (now - began) / 2;
  tree.how = stalled ? task_tree::outcome::stalled : task_tree::outcome::busy;
  if (!stalled) return;
  tree.stalled_for = now - unchanged_since;
  const core::loop_pulse::holder who = pulse.who(beat);
  // The turn may have begun before anybody looked.
  if (pulse.now() == beat && pulse.turn_began() < now)
    tree.stalled_for = std::max<duration>(tree.stalled_for, now - pulse.turn_began());
  if (who.is_task || beat.task == nullptr) tree.stalled_by = core::to_text(who);
}

}  // namespace

const std::string& loop_view::name() const noexcept { return pulse_->name(); }

task_tree loop_view::snapshot(const snapshot_options& options) const {
  task_tree tree;
  tree.loop = name();
  if (core::loop* here = core::loop::current(); here != nullptr && &here->pulse() == pulse_.get()) {
    core::tree_walk walk(options.tasks_max);
    walk.slice(*here, core::one_slice);
    fill(tree, walk.take());
    return tree;
  }
  auto beat = pulse_->now();
  if (beat.in == core::loop_pulse::phase::not_running) {
    tree.how =
        pulse_->in().is_closed() ? task_tree::outcome::ended : task_tree::outcome::not_running;
    return tree;
  }
  auto item = std::make_unique<core::posted_walk>(std::make_shared<core::posted_walk::answer>(),
                                                  options.tasks_max);
  const auto answer = item->to();
  auto future = answer->tree.get_future();
  if (!pulse_->in().push(*item, false)) {
    tree.how = task_tree::outcome::ended;
    return tree;
  }
  static_cast<void>(item.release());  // Its own now.
  const auto began = steady::now();
  auto unchanged_since = began;
  for (int n = 1; n <= looks; ++n) {
    if (future.wait_until(began + options.within * n / looks) == std::future_status::ready) {
      auto raw = future.get();
      tree.how = task_tree::outcome::ended;
      if (raw) fill(tree, std::move(*raw));
      return tree;
    }
    const auto seen = pulse_->now();
    if (seen != beat) unchanged_since = steady::now();
    beat = seen;
  }
  answer->given_up.store(true);
  blame(tree, *pulse_, beat, unchanged_since, began);
  return tree;
}

loop_view this_loop() {
  const core::loop* here = core::loop::current();
  if (here == nullptr)
    throw error("this_loop() outside of a loop: call it in a task, and keep what it gives");
  return here->view();
}

}  // namespace coppice
