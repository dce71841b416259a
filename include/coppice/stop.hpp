// SPDX-License-Identifier: Apache-2.0
// How actors are stopped, and how they were: the stop ladder's vocabulary.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "coppice/clock.hpp"

namespace coppice {

/// The rungs of the stop ladder, gentlest first. What each means per backend: docs/stopping.md.
enum class rung : std::uint8_t {
  none,         // Nobody asked: it ended by itself.
  asked,        // A cancel message was enough: its tasks unwound.
  interrupted,  // An exception was raised inside running Python code (or SIGTERM, for a process).
  forced,       // The interpreter was parked and destroyed.
  killed,       // SIGKILL, of an actor with a process of its own.
  abandoned,    // Native code that never returns: the actor is in quarantine.
  reclaimed,    // It was abandoned, its code came back, and everything was given back.
};
const char* to_string(rung r) noexcept;

/// Bounds of the ladder, each the longest time spent on that rung before the next is climbed.
struct stop_policy {
  duration ask = std::chrono::milliseconds(500);
  // A guest that has not even taken the request from its inbox by then is running code that does
  // not look: waiting longer for it to unwind by itself is pointless, so the ladder climbs.
  duration unseen = std::chrono::milliseconds(50);
  duration interrupt = std::chrono::milliseconds(1000);
  duration force = std::chrono::milliseconds(500);
  duration total = std::chrono::milliseconds(3000);  // Of the whole ladder, whatever the rungs say.
  bool may_force = true;  // False: an interpreter is never destroyed under running code.
};

/// How an actor ended.
struct exit_report {
  enum class cause : std::uint8_t {
    returned,   // It was done, or did what it was asked.
    failed,     // Its main code raised; `detail` has the text.
    exited,     // A process left with `status`.
    signalled,  // A process was killed by signal `status`.
    lost,       // Somebody else reaped the process: its status is not known.
    abandoned,  // See rung::abandoned.
  };
  coppice::rung rung = coppice::rung::none;
  cause how = cause::returned;
  int status = 0;      // Exit status or signal number.
  duration took{};     // From the first request to the end; zero if nobody asked.
  std::string detail;  // One line: what `how` does not say, such as an error's text.

  std::string text() const;  // "killed by SIGKILL", "exited with status 3", …
};

}  // namespace coppice
