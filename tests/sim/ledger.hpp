// SPDX-License-Identifier: Apache-2.0
// The oracle: what was called and thrown, and whether what came of it may be.
#pragma once

#include <cstdint>
#include <exception>
#include <map>
#include <string>
#include <vector>

#include "coppice/clock.hpp"
#include "coppice/errors.hpp"
#include "journal.hpp"

namespace coppice::sim {

class network;
class machines;

/// The errors inside an exception, groups and boxes taken apart: "RuntimeError: error #7".
std::vector<std::string> leaves_of(const std::exception_ptr& e);

/// What the runs of a process came to; printed at its end, so that one sees what was tried.
struct tally {
  std::uint64_t calls = 0, values = 0, errors = 0, cancelled = 0, stuck = 0, died = 0, closed = 0;
  std::uint64_t thrown = 0, lost_by_rule = 0, actors = 0, killed = 0, abandoned = 0;
  std::uint64_t overtaken = 0;  // Answers that were on their way when their actor's end was heard.
  void add(const tally& other);
  std::string text() const;
};

/// Every call and every scripted error of a run has a number here. Promises to fail the run if
/// - a call ends twice or never, or with what its callee did not say and no rule explains;
/// - a callee runs on although its caller gave up;
/// - an error that was thrown reaches nobody, and no rule says that it may.
///
/// The rules by which an error may be lost, all of them of a caller that is not there to hear it:
/// - its connection was hurt, or one of the two ends had ended: it hears of that instead;
/// - it had given up already: the call was cancelled and did not end in time.
///
/// Owner: the run. Thread: the loop's.
class ledger {
 public:
  ledger(journal& trace, const core::loop& loop, const network& net, const machines& hosts)
      : trace_(trace), loop_(loop), net_(net), hosts_(hosts) {}

  // --- calls, as their callers see them ---
  std::uint64_t begin_call(const std::string& caller, const std::string& callee,
                           const std::string& text);
  /// How it ended. `cancelled`: would a checkpoint of the caller throw now?
  void end_call(std::uint64_t id, const std::exception_ptr& error, const std::string& value,
                bool cancelled);
  // --- as their callees do ---
  void callee_begins(std::uint64_t id, const std::string& where);
  void callee_ends(std::uint64_t id, const std::exception_ptr& error, const std::string& value);

  // --- errors ---
  [[noreturn]] void throw_error();            // A new one, with a number.
  void arrived(const std::exception_ptr& e);  // Where an error stops: a handler, or the root.

  void check_end();  // Of the run.
  tally counts;

 private:
  enum class callee_state : std::uint8_t { not_begun, runs, value, error, cancelled };
  struct call {
    std::string caller, callee;
    callee_state state = callee_state::not_begun;
    bool ended = false;
    time_point began{}, callee_ended{}, gave_up = time_point::max();
    std::string value;
    std::vector<std::string> leaves;  // Of the callee's error.
  };

  void judge(std::uint64_t id, const call& c, const std::exception_ptr& error, bool cancelled);
  void judge_value(std::uint64_t id, const call& c, const std::string& value);
  void judge_remote(std::uint64_t id, const call& c, const remote_actor_error& e);
  void judge_cancelled(std::uint64_t id, const call& c, bool cancelled);
  void lose(const call& c);
  bool unheard(const call& c) const;
  std::string about(std::uint64_t id, const call& c) const;

  journal& trace_;
  const core::loop& loop_;
  const network& net_;
  const machines& hosts_;
  std::map<std::uint64_t, call> calls_;
  enum class fate : std::uint8_t { under_way, arrived, lost };
  std::map<std::uint64_t, fate> errors_;
  std::uint64_t numbers_ = 0;
};

}  // namespace coppice::sim
