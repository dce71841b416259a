// SPDX-License-Identifier: Apache-2.0
// The order of tasks in a test: "everyone is blocked", and "you first".
#pragma once

#include <map>

#include "coppice/event.hpp"
#include "coppice/task.hpp"

namespace coppice::testkit {

/// Waits until every other task of this loop waits for something: what they could do by themselves,
/// they have done. Needs no time to pass, real or virtual. Of several that wait so, all go on.
///
///     n.start_soon(worker, std::ref(queue));
///     co_await wait_all_blocked();           // the worker waits for its first value now
task<> wait_all_blocked();

/// Turns, taken in the order of their numbers, whichever task asks first.
///
///     co_await order.turn(0); … in one task, then order.done(0);
///     co_await order.turn(1); … in another.
///
/// Owner: a frame that outlives the tasks. Thread: one loop's.
class sequencer {
 public:
  sequencer() = default;
  sequencer(const sequencer&) = delete;
  sequencer& operator=(const sequencer&) = delete;

  /// Waits until every turn below `n` is done. Turn 0 waits for nobody.
  task<> turn(int n);
  void done(int n);  // REQUIRES: turn `n` has come.

 private:
  int next_ = 0;
  std::map<int, event> waiting_;
};

}  // namespace coppice::testkit
