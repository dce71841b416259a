// SPDX-License-Identifier: Apache-2.0
// Finds loops that one task keeps for itself: one thread that looks at the pulses of all.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "base/ticker.hpp"
#include "coppice/introspect.hpp"
#include "coppice/stall.hpp"
#include "core/pulse.hpp"

namespace coppice::core {

/// When what is seen of one loop, again and again, is a stall to report. Time is told, not looked
/// at.
class stall_rule {
 public:
  stall_rule(duration after, duration every) : after_(after), every_(every) {}

  struct finding {
    duration at_least;
    std::size_t left_out;
  };
  /// Something to report? A look counts for no more than half of `after`, however late it comes:
  /// the process may have been stopped.
  std::optional<finding> see(const loop_pulse::beat& beat, time_point now);

 private:
  const duration after_;
  const duration every_;
  loop_pulse::beat last_;
  time_point since_{};                  // When last_ was first seen.
  time_point looked_{};                 // The time of the last look.
  duration counted_{};                  // Of last_, by looks.
  bool told_ = false;                   // last_ has been found.
  std::optional<time_point> reported_;  // The last report.
  std::size_t left_out_ = 0;
};

/// The stall detector of a process. Loops come and go with their runs.
///
/// Promises: see stall_options. The thread is made by the first run of a loop, and has ended when
/// stop() returns; a loop that has called remove() is not looked at any more.
///
/// Owner: the process's runtime, shared with its loops: one in quarantine may come back later.
/// Thread: add(), remove(), loops() any; stop() the owner's, not the handler.
class stall_watch {
 public:
  explicit stall_watch(stall_options options);
  ~stall_watch() { stop(); }
  stall_watch(const stall_watch&) = delete;
  stall_watch& operator=(const stall_watch&) = delete;

  void add(std::shared_ptr<loop_pulse> pulse);    // Its run begins, on the calling thread.
  void remove(const loop_pulse& pulse) noexcept;  // Its run ends, on the calling thread.
  void stop() { ticker_.stop(); }

  std::vector<loop_view> loops();  // Those that run.

 private:
  struct watched {
    std::shared_ptr<loop_pulse> pulse;  // Shared with the loop.
    stall_rule rule;
  };

  base::ticker::afterwards look();
  stall_report report_on(watched& w, const loop_pulse::beat& beat, const stall_rule::finding& found,
                         std::vector<const void*>& stack) const;
  duration period() const noexcept;

  const stall_options options_;
  std::list<watched> loops_;  // Under the ticker's lock.
  base::ticker ticker_;
};

}  // namespace coppice::core
