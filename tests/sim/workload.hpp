// SPDX-License-Identifier: Apache-2.0
// Random programs for simulated actors, each step of which checks the promise that it relies on.
#pragma once

#include <algorithm>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "coppice/actor.hpp"
#include "coppice/exposed.hpp"
#include "coppice/portal.hpp"
#include "coppice/task.hpp"
#include "dice.hpp"
#include "world.hpp"

namespace coppice::sim {

struct kid {
  portal to;
  std::string uuid;
};

/// Where a step of a program runs, and with what luck.
struct place {
  world& w;
  actor& self;
  dice luck;
  std::int64_t levels = 0;  // Of actors that may still be started below this one.
  std::vector<kid> kids = {};

  place part() { return {w, self, dice(luck.next()), levels, kids}; }
  time_point now() const { return w.loop.now(); }
};

/// A step. The place outlives it.
using action = task<> (*)(place* p);

/// How a piece of work ended, written down by the piece itself: what the construct around it is
/// held against.
struct ending {
  bool over = false;
  std::exception_ptr error;
  bool cancelled() const { return detail::is_cancelled(error); }
  bool failed() const { return error && !cancelled(); }
};
task<> recorded(action work, place* p, ending* how);

/// Tasks that live and die together, and what became of each: what their nursery is held against.
struct family {
  std::vector<std::exception_ptr> failures;  // In the order in which they were seen.
  bool some_cancelled = false;
  bool own_cancel = false;  // Its nursery was cancelled by its own cancel().

  void note(const std::exception_ptr& e) {
    if (detail::is_cancelled(e))
      some_cancelled = true;
    else if (e && std::ranges::find(failures, e) == failures.end())
      failures.push_back(e);  // A task that start() never handed over fails in start(), too.
  }
};
task<> member(action work, place* p, family* of);

// --- steps ---------------------------------------------------------------------------------------
task<> some(place* p);          // A few steps, one after another.
task<> rest(place* p);          // Sleeps for a moment.
task<> rest_long(place* p);     // Until it is cancelled, or for very long.
task<> fail(place* p);          // Throws an error with a number.
task<> attempt(place* p);       // Handles some of the errors of what it tries.
task<> stubborn(place* p);      // Keeps out every cancellation for a while.
task<> limited(place* p);       // move_on_after() and fail_after().
task<> cleaned_up(place* p);    // finally()
task<> side_by_side(place* p);  // A nursery.
task<> call_kid(place* p);
task<> talk_to(place* p);  // A dialog with a kid, and a stream in it.
task<> stop_kid(place* p);
task<> with_actors(place* p);  // An actor nursery: the only step that gives its parts kids.

// Of meetings.cpp: tasks that wait for each other.
task<> meet_at_event(place* p);
task<> share_lock(place* p);
task<> share_permits(place* p);
task<> pass_values(place* p);

/// What every simulated actor serves: `sim:run`, which runs some() as a call, and `sim:talk`, a
/// dialog that echoes. They find the run that is under way by set_world().
std::vector<exposed> endpoints();
void set_world(world* w);

}  // namespace coppice::sim
