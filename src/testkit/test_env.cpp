// SPDX-License-Identifier: Apache-2.0
#include "coppice/testkit/test_env.hpp"

#include "base/describe.hpp"
#include "coppice/errors.hpp"
#include "core/loop.hpp"

namespace coppice::testkit {

std::string run_async_test(const char* name, task<> (*body)(test_env&)) {
  fake_clock time({.autojump = true});
  core::loop loop({.name = name, .time = &time});
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

}  // namespace coppice::testkit
