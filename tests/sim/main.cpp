// SPDX-License-Identifier: Apache-2.0
// sim: runs simulated trees of actors, one per seed. See README.md beside this file.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "simulation.hpp"

namespace coppice::sim {
namespace {

constexpr unsigned seconds_per_seed_max = 60;  // Real ones. A seed takes milliseconds.

constexpr std::string_view usage =
    "usage: sim [--seeds N] [--first F] [--seed S] [--trace] [--hash] [--faults a,b]\n"
    "  --seeds N     runs N seeds (1000), --first F: from F on (0)\n"
    "  --seed S      runs one; --trace prints what happens\n"
    "  --hash        prints the hash of each seed's trace\n"
    "  --faults a,b  of delay, stall, cut, half-open, kill, boot, stuck, interrupt; none: calm\n";

struct arguments {
  std::uint64_t first = 0, count = 1000;
  bool one = false, trace = false, hash = false, help = false;
  fault_set allowed;
  std::string faults;  // As they were given; empty: all.
};

struct usage_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::uint64_t number(std::string_view name, std::string_view text) {
  std::uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), n);
  if (error != std::errc{} || end != text.end() || text.empty())
    throw usage_error(fmt::format("{} takes a number, not '{}'", name, text));
  return n;
}

fault_set parse_faults(std::string_view text) {
  fault_set out;
  if (text == "none") return out;
  while (!text.empty()) {
    const auto comma = text.find(',');
    const std::string_view one = text.substr(0, comma);
    std::size_t i = 0;
    while (i < fault_names.size() && fault_names[i] != one) ++i;
    if (i == fault_names.size())
      throw usage_error(fmt::format("there is no fault '{}': see --help", one));
    out.add(static_cast<fault>(i));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
  }
  return out;
}

arguments parse(const std::vector<std::string_view>& given) {
  arguments out;
  for (std::size_t i = 0; i < fault_names.size(); ++i) out.allowed.add(static_cast<fault>(i));
  for (std::size_t i = 0; i < given.size(); ++i) {
    const std::string_view name = given[i];
    const auto value = [&] {
      if (++i == given.size()) throw usage_error(fmt::format("{} takes a value", name));
      return given[i];
    };
    if (name == "--seeds") {
      out.count = number(name, value());
    } else if (name == "--first") {
      out.first = number(name, value());
    } else if (name == "--seed") {
      out.first = number(name, value());
      out.count = 1;
      out.one = true;
    } else if (name == "--faults") {
      out.faults = value();
      out.allowed = parse_faults(out.faults);
    } else if (name == "--trace") {
      out.trace = true;
    } else if (name == "--hash") {
      out.hash = true;
    } else if (name == "--help") {
      out.help = true;
    } else {
      throw usage_error(fmt::format("unknown argument '{}': see --help", name));
    }
  }
  return out;
}

extern "C" void on_signal(int number) {
  // Of this very thread, out of a check or a loop that does not end: nothing else is running.
  journal::crashed(number == SIGABRT ? "aborted: a check failed, see above"
                                     : "it keeps the loop busy without end");
  ::_exit(1);
}

int run(const arguments& a, const char* program) {
  for (const int s : {SIGABRT, SIGALRM}) ::signal(s, on_signal);
  tally all;
  std::uint64_t events = 0;
  for (std::uint64_t seed = a.first; seed - a.first < a.count; ++seed) {
    ::alarm(seconds_per_seed_max);
    run_options o;
    o.seed = seed;
    o.allowed = a.allowed;
    o.print_trace = a.trace;
    o.repeat = fmt::format("{} --seed {} --trace{}{}", program, seed,
                           a.faults.empty() ? "" : " --faults ", a.faults);
    const run_result r = run_seed(o);
    if (a.hash) std::printf("seed %lu: %016lx\n", seed, r.hash);
    all.add(r.counts);
    events += r.events;
  }
  ::alarm(0);
  fmt::print("{} seeds from {} on ran clean: {} events, {}\n", a.count, a.first, events,
             all.text());
  return 0;
}

}  // namespace
}  // namespace coppice::sim

int main(int argc, char** argv) {
  using namespace coppice::sim;
  try {
    const arguments a = parse({argv + 1, argv + argc});
    if (!a.help) return run(a, argv[0]);
    fmt::print("{}", usage);
    return 0;
  } catch (const usage_error& e) {
    fmt::print(stderr, "sim: {}\n", e.what());
    return 2;
  }
}
