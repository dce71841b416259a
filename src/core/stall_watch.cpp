// SPDX-License-Identifier: Apache-2.0
#include "core/stall_watch.hpp"

#include <algorithm>
#include <cstdio>

#include "base/native_stack.hpp"
#include "base/symbol.hpp"

namespace coppice::core {

namespace {

// Under the lock: a loop that begins or ends its run meanwhile waits for it.
constexpr std::chrono::milliseconds stack_within(500);

void print(const stall_report& report) { std::fputs(report.to_text().c_str(), stderr); }

}  // namespace

std::optional<stall_rule::finding> stall_rule::see(const loop_pulse::beat& beat, time_point now) {
  const duration step = std::min(now - looked_, after_ / 2);
  looked_ = now;
  if (beat != last_ || beat.in != loop_pulse::phase::awake) {
    last_ = beat;
    since_ = now;
    counted_ = duration::zero();
    told_ = false;
    return {};
  }
  counted_ += step;
  if (told_ || counted_ < after_) return {};
  told_ = true;
  if (reported_ && now - *reported_ < every_) {
    ++left_out_;
    return {};
  }
  reported_ = now;
  return finding{.at_least = now - since_, .left_out = std::exchange(left_out_, 0)};
}

stall_watch::stall_watch(stall_options options)
    : options_(std::move(options)), ticker_("coppice-stalls", [this] { return look(); }) {}

// A stall is found at the third look, or the fourth.
duration stall_watch::period() const noexcept {
  if (loops_.empty() || options_.after <= duration::zero()) return duration::zero();
  return std::max<duration>(options_.after / 2, std::chrono::milliseconds(1));
}

void stall_watch::add(std::shared_ptr<loop_pulse> pulse) {
  ticker_.locked([&] {
    loops_.push_back({std::move(pulse), stall_rule(options_.after, options_.every)});
    return period();
  });
}

void stall_watch::remove(const loop_pulse& pulse) noexcept {
  ticker_.locked([&] {
    loops_.remove_if([&](const watched& w) { return w.pulse.get() == &pulse; });
    return period();
  });
}

std::vector<loop_view> stall_watch::loops() {
  std::vector<loop_view> all;
  ticker_.locked([&] {
    for (const watched& w : loops_) all.push_back(loop_view(w.pulse));
    return period();
  });
  return all;
}

// Under the lock: the loop's thread cannot leave its run, and so not end, while it is signalled.
stall_report stall_watch::report_on(watched& w, const loop_pulse::beat& beat,
                                    const stall_rule::finding& found,
                                    std::vector<const void*>& stack) const {
  stall_report report{.loop = w.pulse->name(),
                      .task = {},
                      .at_least = found.at_least,
                      .stack = {},
                      .left_out = found.left_out};
  const loop_pulse::holder who = w.pulse->who(beat);
  if (options_.stacks) stack = base::stack_of(w.pulse->tid(), stack_within);
  if (w.pulse->now() == beat) {
    report.task = to_text(who);
  } else {
    stack.clear();  // It is of something else, perhaps.
    if (who.is_task) report.task = to_text(who);
  }
  return report;
}

base::ticker::afterwards stall_watch::look() {
  struct found_stall {
    stall_report report;
    std::vector<const void*> stack;
  };
  std::vector<found_stall> found;
  for (watched& w : loops_) {
    const loop_pulse::beat beat = w.pulse->now();
    const auto stall = w.rule.see(beat, std::chrono::steady_clock::now());
    if (!stall) continue;
    std::vector<const void*> stack;
    stall_report report = report_on(w, beat, *stall, stack);
    found.push_back({std::move(report), std::move(stack)});
  }
  if (found.empty()) return {};
  return [this, stalls = std::move(found)]() mutable {
    for (found_stall& s : stalls) {
      for (const void* frame : s.stack) s.report.stack.push_back(base::place_at(frame));
      options_.handler ? options_.handler(s.report) : print(s.report);
    }
  };
}

}  // namespace coppice::core
