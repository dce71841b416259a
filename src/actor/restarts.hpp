// SPDX-License-Identifier: Apache-2.0
// Which actors of a nursery are started again, when, and how often: the policy, without the actors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "coppice/detail/task_node.hpp"
#include "coppice/event.hpp"
#include "coppice/restart.hpp"
#include "coppice/task.hpp"

namespace coppice::tree {

/// One actor's place in its nursery, which one incarnation after the other takes.
struct place {
  enum class state : std::uint8_t {
    starting,  // Its first incarnation; who starts it hears how that ends.
    up,
    down,  // The next incarnation is to come.
    over,  // No more of them.
  };

  place(std::string called, restart_type restarted) : name(std::move(called)), when(restarted) {}
  virtual ~place() = default;

  const std::string name;
  const restart_type when;
  state now = state::starting;
  std::size_t restarts = 0;     // Incarnations that came up after the first.
  std::exception_ptr last_end;  // How the last one ended, as an error.
  time_point up_since{};
  std::size_t in_a_row = 0;  // Restarts since it was last up for long.
};

/// Starts and stops incarnations. Its tasks run in the nursery's own.
class place_keeper {
 public:
  virtual ~place_keeper() = default;
  /// The next incarnation, until it is up, which is told by is_up(). Throws why it did not come up:
  /// nothing of it is left.
  virtual task<> start(place& p) = 0;
  /// Ends the present incarnation, if there is one, and waits for that.
  virtual task<> stop(place& p) = 0;
  /// Has nothing been heard of its end yet? Calls hear of that before ended() is called.
  virtual bool is_there(const place& p) const = 0;
};

/// Erlang's supervision, for the actors of one nursery. Promises:
/// - A death is looked at when those before it have been dealt with. One whose place was filled
///   meanwhile, because it had to go with another, is no death any more.
/// - More than restarts_max restarts within `within`, both ends included, are one too many.
/// - Before a restart there is the policy's pause. Places that go with a dead one are stopped
///   before it, the last first, and started after it, the first first.
/// - Nothing is started once close() was called; what ends then ends for good, and is no failure.
///
/// Owner: the nursery's actor_set. Thread: its actor's loop.
class restarts {
 public:
  restarts(detail::scheduler& loop, const restart_policy& policy, place_keeper& keeper);
  restarts(const restarts&) = delete;
  restarts& operator=(const restarts&) = delete;

  /// A place's order is that of these calls. `p` outlives this, or is removed.
  void add(place& p) { places_.push_back(&p); }
  /// It is over: its first incarnation did not come up, or nobody asks for it any more.
  void remove(place& p);
  void is_up(place& p);
  bool restarts_any() const noexcept {
    return policy_.strategy != restart_strategy::one_cancels_all;
  }

  enum class verdict : std::uint8_t { restart, over, fails };
  /// The present incarnation of a place that was up has ended. `how` is that as an error, `fault`
  /// says whether it is one. `asked`: somebody here asked for it.
  verdict ended(place& p, std::exception_ptr how, bool fault, bool asked);

  /// Restarts until close(). Throws restart_limit_exceeded.
  task<> run();
  void close();
  bool closed() const noexcept { return closed_.is_set(); }

  /// Of several places of one name the last; null: there is none.
  place* find(std::string_view name) const noexcept;
  /// Until a place of that name is up; at most `within`, then timeout_error. Throws what it died
  /// of, or actor_died, if it is over; `error` if there is none.
  task<place*> wait_up(std::string name, duration within);

 private:
  task<place*> wait_for_change(std::string name);
  task<> bring_back(place* dead);
  task<place*> start_group(std::vector<place*> group);
  void count(const place& dead);
  std::vector<place*> group_of(const place& dead) const;
  task<> pause(place* dead);
  void changed();

  detail::scheduler& loop_;
  const restart_policy policy_;
  place_keeper& keeper_;
  std::vector<place*> places_;
  std::deque<place*> dead_;
  std::deque<time_point> counted_;  // Restarts that the limit still looks at.
  event closed_{"the end of restarts"};
  std::shared_ptr<event> news_;  // Shared with those who wait for it; each change makes a new one.
};

}  // namespace coppice::tree
