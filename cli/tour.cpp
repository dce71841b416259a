// SPDX-License-Identifier: Apache-2.0
#include "cli/tour.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "actor/python_side.hpp"
#include "cli/endpoints.hpp"
#include "coppice/coppice.hpp"

namespace coppice::cli {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

inline constexpr endpoint<scan_totals(std::vector<std::string>)> scan{"coppice_tour:scan", "paths"};

namespace {

double seconds_since(std::chrono::steady_clock::time_point t) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - t).count();
}

/// A line that is drawn over itself; nothing where nobody looks.
class progress_bar {
 public:
  progress_bar(std::string what, std::size_t total, bool quiet)
      : what_(std::move(what)), total_(total), shown_(!quiet && ::isatty(STDERR_FILENO)) {}
  ~progress_bar() {
    if (shown_) std::fputs("\r\033[K", stderr);
  }
  void add(std::size_t n) {
    done_ += n;
    if (!shown_ || total_ == 0) return;
    constexpr std::size_t width = 40;
    const std::size_t full = width * done_ / total_;
    fmt::print(stderr, "\r{:<22} [{:█<{}}{:<{}}] {}/{} files", what_, "", full, "", width - full,
               done_, total_);
    std::fflush(stderr);
  }

 private:
  const std::string what_;
  const std::size_t total_;
  const bool shown_;
  std::size_t done_ = 0;
};

std::vector<std::string> python_files(const std::string& folder) {
  std::error_code ec;
  if (!fs::is_directory(folder, ec))
    throw error(fmt::format("no such folder: {}; give one that holds .py files", folder));
  std::vector<std::string> files;
  for (fs::recursive_directory_iterator
           it(folder, fs::directory_options::skip_permission_denied, ec),
       end;
       !ec && it != end; it.increment(ec)) {
    if (it->path().filename() == "site-packages") it.disable_recursion_pending();
    std::error_code ignored;
    if (it->path().extension() == ".py" && it->is_regular_file(ignored))
      files.push_back(it->path().string());
  }
  if (files.empty())
    throw error(fmt::format("no .py file in {}; give a folder that has some", folder));
  std::ranges::sort(files);
  return files;
}

/// Takes batches off the common list until it is empty.
task<> scan_files(portal guest, const std::vector<std::string>& files, std::size_t& next,
                  scan_totals& totals, progress_bar& bar) {
  constexpr std::size_t batch_max = 8;
  while (next < files.size()) {
    const std::size_t n = std::min(batch_max, files.size() - next);
    std::vector<std::string> batch(files.begin() + static_cast<std::ptrdiff_t>(next),
                                   files.begin() + static_cast<std::ptrdiff_t>(next + n));
    next += n;
    scan_totals part = co_await guest.run(scan, batch);
    totals.files += part.files;
    totals.failed += part.failed;
    totals.bytes += part.bytes;
    totals.definitions += part.definitions;
    totals.calls += part.calls;
    totals.imports += part.imports;
    bar.add(n);
  }
}

/// All files by `count` guests; seconds from the first batch to the last reply.
task<double> scan_with(actor& self, const std::vector<std::string>& files, std::size_t count,
                       scan_totals& totals, bool quiet) {
  auto body = [&](actor_nursery& an) -> task<double> {
    std::vector<portal> guests;
    for (std::size_t i = 0; i < count; ++i) {
      const std::string name = fmt::format("scanner-{}", i + 1);
      portal p = co_await an.start_actor(
          name, {.backend = spawn::subint, .enable_modules = {"coppice_tour"}});
      std::vector<std::string> none;
      co_await p.run(scan, none);  // The import of ast is not what is compared.
      guests.push_back(p);
    }
    progress_bar bar(fmt::format("{} guest{}", count, count == 1 ? "" : "s"), files.size(), quiet);
    const auto begun = std::chrono::steady_clock::now();
    std::size_t next = 0;
    auto scanning = [&](nursery& n) {
      for (portal p : guests)
        n.start_soon(scan_files, p, std::ref(files), std::ref(next), std::ref(totals),
                     std::ref(bar));
    };
    co_await open_nursery(scanning);
    co_return seconds_since(begun);
  };
  co_return co_await open_nursery(self, body);
}

task<backend_latency> measure(actor& self, std::string label, actor_options options, bool native) {
  backend_latency out;
  out.backend = std::move(label);
  auto body = [&](actor_nursery& an) -> task<> {
    const auto begun = std::chrono::steady_clock::now();
    portal p = co_await an.start_actor("latency", options);
    std::vector<double> calls;
    for (int i = 0; i < 200; ++i) {
      const auto t = std::chrono::steady_clock::now();
      if (native)
        co_await p.run<int>("tour:ping", kw("x", i));
      else
        co_await p.run<int>("coppice_tour:ping", kw("x", i));
      if (i == 0) out.start_ms = seconds_since(begun) * 1e3;
      calls.push_back(seconds_since(t) * 1e6);
    }
    std::ranges::nth_element(calls, calls.begin() + 100);
    out.call_us = calls[100];
  };
  co_await open_nursery(self, body);
  co_return out;
}

/// Calls something that never returns; the error that ends it is what was wanted.
task<> get_stuck(portal p, std::string function) {
  const std::string name = "coppice_tour:" + function;
  auto call = [&]() -> task<> { co_await p.run(function_name::parse(name)); };
  auto r = co_await as_result(call());
  (void)r;
}

task<> stop_one(portal p, std::string state, std::vector<stopped_guest>& into) {
  exit_report how = co_await p.cancel_actor();
  into.push_back(
      {state, to_string(how.rung), std::chrono::duration<double, std::milli>(how.took).count()});
}

/// Four guests that do not look up any more, stopped all at once.
task<> cut_down(actor& self, tour_result& result) {
  auto body = [&](actor_nursery& an) -> task<> {
    std::vector<std::pair<portal, std::string>> stuck;
    for (const char* state : {"pure_loop", "sleep", "event_wait", "lock_never_released"}) {
      portal p = co_await an.start_actor(
          state, {.backend = spawn::subint, .enable_modules = {"coppice_tour"}});
      an.start_soon(get_stuck, p, state);
      stuck.emplace_back(p, state);
    }
    co_await sleep_for(100ms);  // Long enough that each is really inside.
    auto stopping = [&](nursery& n) {
      for (auto& [p, state] : stuck) n.start_soon(stop_one, p, state, std::ref(result.stopped));
    };
    co_await open_nursery(stopping);
  };
  co_await open_nursery(self, body);
}

}  // namespace

task<int> run_tour(actor& self, tour_options options) {
  tour_result result;
  const std::string folder =
      options.folder.empty() ? tree::python_standard_library() : options.folder;
  const std::vector<std::string> files = python_files(folder);
  result.guests =
      options.guests ? options.guests : std::max(1u, std::thread::hardware_concurrency());

  // First, so that what lives as long as the runtime (its helper threads, its listener) is there
  // before anything is counted.
  auto note = [&](const char* what) {
    if (!options.json) fmt::print("{}\n", what);
    std::fflush(stdout);
  };
  note("starting one actor of each kind …");
  actor_options how{.backend = spawn::thread};
  result.latencies.push_back(co_await measure(self, "thread (C++)", how, true));
  how.backend = spawn::process;
  result.latencies.push_back(co_await measure(self, "process (C++)", how, true));
  how.enable_modules = name_list("coppice_tour");
  result.latencies.push_back(co_await measure(self, "process (Python)", how, false));
  how.backend = spawn::subint;
  result.latencies.push_back(co_await measure(self, "subint (Python)", how, false));
  result.before = count_resources();

  note("parsing …");
  scan_totals again;
  result.one_guest_s = co_await scan_with(self, files, 1, again, options.json);
  result.n_guests_s = co_await scan_with(self, files, result.guests, result.totals, options.json);
  note("cutting down four guests that got stuck …");
  co_await cut_down(self, result);

  result.after = settle(result.before);
  if (options.json)
    fmt::print("{}\n", to_json(result));
  else
    print_table(result);
  std::fflush(stdout);
  const bool all_stopped = std::ranges::none_of(
      result.stopped, [](const stopped_guest& s) { return s.rung == "abandoned"; });
  co_return result.left_nothing() && all_stopped&& result.stopped.size() == 4 ? 0 : 1;
}

}  // namespace coppice::cli
