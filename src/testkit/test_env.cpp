// SPDX-License-Identifier: Apache-2.0
#include "coppice/testkit/test_env.hpp"

#include <charconv>
#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include "base/describe.hpp"
#include "coppice/errors.hpp"
#include "core/loop.hpp"

namespace coppice::testkit {

std::string run_async_test(const char* name, task<> (*body)(test_env&),
                           std::optional<std::uint64_t> order_seed) {
  fake_clock time({.autojump = true});
  core::loop loop({.name = name, .time = &time, .order_seed = order_seed});
  test_env env(time);
  std::string deadlock;
  time.on_deadlock([&] {
    detail::check(deadlock.empty(), "deadlock, also after the test was cancelled for one");
    base::tree_writer tree;
    loop.describe(tree);
    deadlock =
        "deadlock: every task waits, and there is no timer that could end a wait\n" + tree.text();
    loop.cancel("deadlock");
  });
  try {
    loop.run(body(env));
  } catch (const std::exception&) {
    return deadlock + "the test's body threw " + describe_exception(std::current_exception());
  } catch (...) {
    if (deadlock.empty())
      return "the test's body threw " + describe_exception(std::current_exception());
  }
  return deadlock;
}

std::optional<std::uint64_t> order_seed_of_environment() {
  const char* text = std::getenv("COPPICE_ORDER_SEED");
  if (text == nullptr || *text == '\0') return std::nullopt;
  const std::string_view digits = text;
  std::uint64_t seed = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), seed);
  if (error != std::errc{} || end != digits.end())
    throw std::invalid_argument("COPPICE_ORDER_SEED is a number from 0 to 2^64 - 1, not '" +
                                std::string(digits) + "'");
  return seed;
}

}  // namespace coppice::testkit
