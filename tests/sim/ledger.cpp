// SPDX-License-Identifier: Apache-2.0
#include "ledger.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "machines.hpp"
#include "network.hpp"

namespace coppice::sim {

using namespace std::chrono_literals;

namespace {

// A caller that gave up tells its callee, whose code may be shielded for a while, and the news may
// be long on its way.
constexpr duration end_after_giving_up_max = 12s;
constexpr duration reply_travels_max = 4s;

void add_leaves(const remote_error_info& e, std::vector<std::string>& out) {
  if (e.members.empty()) return out.push_back(e.source_type + ": " + e.message);
  for (const auto& member : e.members) add_leaves(member, out);
}

std::optional<std::uint64_t> number_of(const std::string& leaf) {
  constexpr std::string_view mark = "error #";
  const auto at = leaf.find(mark);
  if (at == std::string::npos) return std::nullopt;
  std::uint64_t n = 0;
  std::from_chars(leaf.data() + at + mark.size(), leaf.data() + leaf.size(), n);
  return n;
}

}  // namespace

std::vector<std::string> leaves_of(const std::exception_ptr& e) {
  std::vector<std::string> out;
  add_leaves(to_remote(e, {}), out);
  return out;
}

void tally::add(const tally& o) {
  calls += o.calls, values += o.values, errors += o.errors, cancelled += o.cancelled;
  stuck += o.stuck, died += o.died, closed += o.closed, thrown += o.thrown;
  lost_by_rule += o.lost_by_rule, actors += o.actors, killed += o.killed;
  abandoned += o.abandoned, overtaken += o.overtaken;
}

std::string tally::text() const {
  return fmt::format(
      "{} calls: {} values, {} errors, {} cancelled, {} stuck, {} died ({} answers "
      "overtaken), {} closed; {} errors thrown, {} lost by rule; {} actors, {} killed, {} "
      "abandoned",
      calls, values, errors, cancelled, stuck, died, overtaken, closed, thrown, lost_by_rule,
      actors, killed, abandoned);
}

// --- calls ---------------------------------------------------------------------------------------

std::uint64_t ledger::begin_call(const std::string& caller, const std::string& callee,
                                 const std::string& text) {
  const std::uint64_t id = ++numbers_;
  call& c = calls_[id];
  c.caller = caller;
  c.callee = callee;
  c.began = loop_.now();
  c.value = fmt::format("{}:{}", id, text);
  ++counts.calls;
  trace_.note("call #{} begins", id);
  return id;
}

void ledger::end_call(std::uint64_t id, const std::exception_ptr& error, const std::string& value,
                      bool cancelled) {
  call& c = calls_.at(id);
  trace_.note("call #{} ends: {}", id, error ? describe_exception(error) : value);
  if (std::exchange(c.ended, true)) trace_.fail("{} ended twice", about(id, c));
  if (!error)
    judge_value(id, c, value);
  else
    judge(id, c, error, cancelled);
  if (c.state == callee_state::runs || c.state == callee_state::not_begun) c.gave_up = loop_.now();
}

void ledger::judge_value(std::uint64_t id, const call& c, const std::string& value) {
  ++counts.values;
  if (c.state != callee_state::value)
    trace_.fail("{} gave a value that its callee never returned", about(id, c));
  if (value != c.value) trace_.fail("{} gave '{}', not '{}'", about(id, c), value, c.value);
  if (loop_.now() - c.callee_ended > reply_travels_max)
    trace_.fail("{} ended long after its callee", about(id, c));
}

void ledger::judge(std::uint64_t id, const call& c, const std::exception_ptr& error,
                   bool cancelled) {
  if (detail::is_cancelled(error)) return judge_cancelled(id, c, cancelled);
  try {
    std::rethrow_exception(error);
  } catch (const remote_actor_error& e) {
    judge_remote(id, c, e);
  } catch (const actor_died& e) {
    ++counts.died;
    const auto over = hosts_.over_since(c.callee);
    if (!over) trace_.fail("{} says '{}', but the actor has not ended", about(id, c), e.what());
    if (loop_.now() - std::max(c.began, *over) > end_is_reported_within)
      trace_.fail("{} says '{}' long after that", about(id, c), e.what());
    const bool answered = c.state == callee_state::value || c.state == callee_state::error;
    if (answered && !net_.was_hurt(c.callee)) {
      ++counts.overtaken;
      if (net_.is_prompt()) trace_.fail("{} lost its answer to its callee's end", about(id, c));
    }
    lose(c);
  } catch (const transport_closed& e) {
    ++counts.closed;
    // Its own actor is killed, or has lost the other and does not wait for how that ends.
    if (!hosts_.was_killed(c.caller) && !net_.was_hurt(c.callee))
      trace_.fail("{} says '{}', but nothing had happened to either", about(id, c), e.what());
    lose(c);
  } catch (const call_stuck& e) {
    ++counts.stuck;
    if (!cancelled) trace_.fail("{} says '{}', but was not cancelled", about(id, c), e.what());
    const bool answered = c.state != callee_state::not_begun && c.state != callee_state::runs;
    if (answered && !unheard(c) && loop_.now() - c.callee_ended > reply_travels_max)
      trace_.fail("{} is stuck, but its callee had ended", about(id, c));
    lose(c);
  } catch (const std::exception& e) {
    trace_.fail("{} ended with what nobody threw: {}", about(id, c), describe_exception(error));
  }
}

void ledger::judge_remote(std::uint64_t id, const call& c, const remote_actor_error& e) {
  ++counts.errors;
  std::vector<std::string> heard;
  add_leaves(e.info(), heard);
  if (c.state == callee_state::error && heard == c.leaves) return;
  const bool ending = hosts_.is_ending(c.callee);
  if (e.source_type() == "ContextCancelled" && c.state == callee_state::cancelled && ending) return;
  if (e.source_type() == "TransportClosed" && c.state == callee_state::not_begun && ending) return;
  trace_.fail("{} ended with '{}', which its callee did not raise", about(id, c), e.what());
}

void ledger::judge_cancelled(std::uint64_t id, const call& c, bool cancelled) {
  ++counts.cancelled;
  if (!cancelled) trace_.fail("{} was cancelled by no scope of its own", about(id, c));
  if (c.state == callee_state::error && !unheard(c))
    trace_.fail("{} swallowed the error of its callee: it was cancelled, but the error is older",
                about(id, c));
  lose(c);
}

// May a reply not have come through?
bool ledger::unheard(const call& c) const {
  return net_.was_hurt(c.callee) || hosts_.is_over(c.callee) || hosts_.was_killed(c.caller);
}

void ledger::lose(const call& c) {
  for (const auto& leaf : c.leaves)
    if (const auto n = number_of(leaf); n && errors_.at(*n) == fate::under_way) {
      errors_.at(*n) = fate::lost;
      ++counts.lost_by_rule;
    }
}

void ledger::callee_begins(std::uint64_t id, const std::string& where) {
  call& c = calls_.at(id);
  trace_.note("call #{} runs in {}", id, where);
  if (std::exchange(c.state, callee_state::runs) != callee_state::not_begun)
    trace_.fail("{} began twice", about(id, c));
}

void ledger::callee_ends(std::uint64_t id, const std::exception_ptr& error,
                         const std::string& value) {
  call& c = calls_.at(id);
  trace_.note("call #{} has run: {}", id, error ? describe_exception(error) : value);
  c.callee_ended = loop_.now();
  if (!error) {
    c.state = callee_state::value;
  } else if (detail::is_cancelled(error)) {
    c.state = callee_state::cancelled;
  } else {
    c.state = callee_state::error;
    c.leaves = leaves_of(error);
    if (c.ended) lose(c);  // Nobody waits for it any more.
  }
  if (c.ended && loop_.now() - c.gave_up > end_after_giving_up_max)
    trace_.fail("{} ran on after its caller had given up", about(id, c));
}

// --- errors --------------------------------------------------------------------------------------

void ledger::throw_error() {
  const std::uint64_t n = ++numbers_;
  errors_.emplace(n, fate::under_way);
  ++counts.thrown;
  trace_.note("error #{} is thrown", n);
  throw std::runtime_error(fmt::format("error #{}", n));
}

void ledger::arrived(const std::exception_ptr& e) {
  for (const auto& leaf : leaves_of(e))
    if (const auto n = number_of(leaf)) {
      trace_.note("error #{} has arrived", *n);
      if (std::exchange(errors_.at(*n), fate::arrived) != fate::under_way)
        trace_.fail("error #{} arrived twice, or after it was given up", *n);
    }
}

void ledger::check_end() {
  for (const auto& [id, c] : calls_) {
    if (!c.ended) trace_.fail("{} never ended", about(id, c));
    if (c.state == callee_state::runs) trace_.fail("{} still runs in its callee", about(id, c));
  }
  for (const auto& [n, how] : errors_)
    if (how == fate::under_way) trace_.fail("error #{} was swallowed: it reached nobody", n);
}

std::string ledger::about(std::uint64_t id, const call& c) const {
  static constexpr const char* states[] = {"not begun", "running", "returned", "failed",
                                           "cancelled"};
  return fmt::format("call #{} (callee {}{})", id, states[static_cast<int>(c.state)],
                     net_.was_hurt(c.callee) ? ", connection hurt" : "");
}

}  // namespace coppice::sim
