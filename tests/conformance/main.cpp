// SPDX-License-Identifier: Apache-2.0
// This program is its own native child, so main() reaches run_main() before GoogleTest.
#include <gtest/gtest.h>
#include <link.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/sanitizers.hpp"
#include "tests/conformance/breaks.hpp"
#include "tests/conformance/kit.hpp"
#include "tests/conformance/resources.hpp"

namespace coppice::conformance {

namespace {

std::int64_t add(std::int64_t x, std::int64_t y) { return x + y; }
std::string fail(std::string message) { throw std::invalid_argument(message); }
totals echo(totals value) { return value; }
shared_buffer pass_on(shared_buffer block, std::int64_t size) {
  return std::cmp_equal(block.size(), size) ? block : shared_buffer();
}
task<std::int64_t> sleep_ms(std::int64_t ms) {
  co_await sleep_for(std::chrono::milliseconds(ms));
  co_return ms;
}
std::int64_t pid() { return ::getpid(); }
void leave_with(std::int64_t status) { ::_exit(static_cast<int>(status)); }
void kill_self(std::int64_t signal) {
  ::kill(::getpid(), static_cast<int>(signal));
  for (;;) ::pause();
}
void group(std::int64_t n) {
  std::vector<std::exception_ptr> errors;
  for (std::int64_t i = 0; i < n; ++i)
    errors.push_back(std::make_exception_ptr(std::invalid_argument("member " + std::to_string(i))));
  throw error_group("group()", std::move(errors));
}
task<std::int64_t> nested(actor& self, std::int64_t x) {
  auto body = [&](actor_nursery& an) -> task<std::int64_t> {
    portal p = co_await an.start_actor("grandchild", {.backend = spawn::thread});
    co_return co_await p.run<std::int64_t>("kit:add", kw("x", x), kw("y", 1));
  };
  co_return co_await open_nursery(self, body);
}

task<std::int64_t> echo_ctx(context<>& ctx, value first) {
  co_await ctx.started(first);
  auto s = ctx.open_stream();
  std::int64_t count = 0;
  while (auto v = co_await s.receive()) {
    ++count;
    co_await s.send(*v);
  }
  co_return count;
}
task<> block_ctx(context<>& ctx) {
  co_await ctx.started(0);
  co_await sleep_forever();
}
// Its stream is open, and nothing comes or is taken.
task<> silent_ctx(context<>& ctx) {
  co_await ctx.started(0);
  auto s = ctx.open_stream();
  co_await sleep_forever();
}

inline constexpr endpoint add_e{"kit:add", add, "x", "y"};
inline constexpr endpoint fail_e{"kit:fail", fail, "message"};
inline constexpr endpoint echo_e{"kit:echo", echo, "value"};
inline constexpr endpoint pass_on_e{"kit:pass_on", pass_on, "block", "size"};
inline constexpr endpoint sleep_e{"kit:sleep_ms", sleep_ms, "ms"};
inline constexpr endpoint pid_e{"kit:pid", pid};
inline constexpr endpoint leave_e{"kit:leave_with", leave_with, "status"};
inline constexpr endpoint kill_e{"kit:kill_self", kill_self, "signal"};
inline constexpr endpoint group_e{"kit:group", group, "n"};
inline constexpr endpoint nested_e{"kit:nested", nested, "x"};
inline constexpr endpoint echo_ctx_e{"kit:echo_ctx", echo_ctx, "first"};
inline constexpr endpoint block_ctx_e{"kit:block_ctx", block_ctx};
inline constexpr endpoint silent_ctx_e{"kit:silent_ctx", silent_ctx};
inline constexpr endpoint break_e{"kit:break_connection", break_connection, "how"};

}  // namespace

const std::vector<exposed> endpoints = {add_e,      fail_e,      echo_e,       pass_on_e, sleep_e,
                                        pid_e,      leave_e,     kill_e,       group_e,   nested_e,
                                        echo_ctx_e, block_ctx_e, silent_ctx_e, break_e};

std::vector<exposed> all_endpoints() {
  std::vector<exposed> all = endpoints;
  all.insert(all.end(), endpoints_of_scenarios.begin(), endpoints_of_scenarios.end());
  all.insert(all.end(), endpoints_of_one_shots.begin(), endpoints_of_one_shots.end());
  all.insert(all.end(), endpoints_of_services.begin(), endpoints_of_services.end());
  all.insert(all.end(), endpoints_of_supervision.begin(), endpoints_of_supervision.end());
  all.insert(all.end(), endpoints_of_homes.begin(), endpoints_of_homes.end());
  return all;
}

// In a tree of this kind there is a stock when the root begins.
constexpr const char* warm_kind = "subint_warm";

std::vector<kind> all_kinds() {
  return {{"thread", spawn::thread, false},
          {"process", spawn::process, false},
          {"process_python", spawn::process, true},
          {"process_tcp", spawn::process, false, "tcp"},
          {"process_python_tcp", spawn::process, true, "tcp"},
          {"forkserver", spawn::forkserver, true},
          {"subint", spawn::subint, true},
          {"subint_fork", spawn::subint_fork, true},
          {"subint_forkserver", spawn::subint_forkserver, true},
          {warm_kind, spawn::subint, true}};
}

kind kind_called(std::string_view name) {
  for (const kind& k : all_kinds())
    if (k.name == name) return k;
  throw std::invalid_argument("there is no kind " + std::string(name));
}

void skip_unless_built([[maybe_unused]] const kind& k) {
#ifndef COPPICE_HAS_PYTHON
  if (k.python) GTEST_SKIP() << "this build has no Python";
#endif
}

actor_options options_for(const kind& k) { return options_for(k, k.python ? "kit_py" : "kit"); }

actor_options options_for(const kind& k, std::string_view module) {
  actor_options o{.backend = k.backend};
  if (!k.transport.empty()) o.enable_transports = k.transport;
  o.enable_modules = name_list(module);
  return o;
}

std::string function(const kind& k, const char* name) {
  return std::string(k.python ? "kit_py:" : "kit:") + name;
}

namespace {
// By what GoogleTest says of the test's parameter: trees of a test need not be given its kind.
warm_pool stock_of_this_test() {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  const char* of = test ? test->value_param() : nullptr;
  warm_pool stock;
  if (!of || std::string_view(of).find(warm_kind) == std::string_view::npos) return stock;
  stock.size = 2;
  stock.preload = {"json"};
  stock.loop = "asyncio";
  return stock;
}
}  // namespace

int run_tree(std::function<task<>(actor&)> body, transport_settings transports,
             std::vector<std::string> registry_addrs) {
  const auto before = count_resources();
  char program[] = "conformance";
  char* argv[] = {program, nullptr};
  auto root = [body](actor& self) -> task<> { co_await body(self); };
  main_options options;
  options.endpoints = all_endpoints();
  options.errors = errors_of_services;
  options.handled = signals::none;
  options.stalls = {.after = {}};  // A busy machine's would be output of the library.
  options.transports = std::move(transports);
  options.registry_addrs = std::move(registry_addrs);
  options.warm = stock_of_this_test();
  const int status = run_main(1, argv, root, std::move(options));
  expect_settled(before);
  return status;
}

// A registrar in a program of its own: says on stdout that it is up, and serves until it is ended.
int run_registrar(const char* address) {
  char program[] = "registrar";
  char* argv[] = {program, nullptr};
  auto root = [](actor&) -> task<> {
    if (::write(STDOUT_FILENO, "+", 1) != 1) throw error("nobody wants to know that it is up");
    co_await sleep_forever();
  };
  main_options options;
  options.name = "registrar";
  options.registry_addrs = {address};
  return run_main(1, argv, root, std::move(options));
}

// As `ulimit -n` does. For the runs that tests/conformance/CMakeLists.txt adds.
void limit_descriptors() {
  const char* text = ::getenv("COPPICE_TEST_FDS");
  if (!text) return;
  const auto most = static_cast<rlim_t>(std::atol(text));
  const rlimit limit{.rlim_cur = most, .rlim_max = most};
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) throw error("RLIMIT_NOFILE cannot be set");
}

// Under AddressSanitizer a Python child needs its runtime before anything else.
void let_python_children_find_asan() {
  if (!base::under_address_sanitizer) return;
  const auto look = [](dl_phdr_info* loaded, std::size_t, void*) {
    if (std::strstr(loaded->dlpi_name, "libclang_rt.asan"))
      ::setenv("LD_PRELOAD", loaded->dlpi_name, 1);
    return 0;
  };
  ::dl_iterate_phdr(look, nullptr);
}

}  // namespace coppice::conformance

int main(int argc, char** argv) {
  using namespace coppice;
  if (argc > 1 && std::strcmp(argv[1], "--coppice-child") == 0) {
    auto none = [](actor&) -> task<> { co_return; };
    main_options options;
    options.endpoints = conformance::all_endpoints();
    options.errors = conformance::errors_of_services;
    return run_main(argc, argv, none, std::move(options));
  }
  if (argc > 2 && std::strcmp(argv[1], "--registrar") == 0)
    return conformance::run_registrar(argv[2]);
  conformance::limit_descriptors();
  conformance::let_python_children_find_asan();
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
