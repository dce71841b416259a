// SPDX-License-Identifier: Apache-2.0
#include "actor/process_runtime.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <utility>

#include "base/threads_for_test.hpp"
#include "coppice/errors.hpp"
#include "coppice/testkit/fake_clock.hpp"
#include "coppice/time.hpp"

namespace coppice::tree {
namespace {

using namespace std::chrono_literals;

TEST(ProcessRuntime, OnACallersLoopItSupervisesWithoutAThreadOfItsOwn) {
  testkit::fake_clock time({.autojump = true});
  auto loop = std::make_shared<core::loop>(core::loop_options{.name = "all", .time = &time});
  const auto before = base::threads_of_this_process();
  process_options options;
  options.control = loop;
  process_runtime rt(std::move(options));
  EXPECT_EQ(rt.control(), loop);
  EXPECT_EQ(process_runtime::current(), &rt);
  auto whole = [&]() -> task<> {
    auto both = [&](nursery& n) -> task<> {
      n.start_soon("control", [](process_runtime* of) { return of->run_control(); }, &rt);
      co_await sleep_for(1h);  // Virtual: the clock is the caller's.
      EXPECT_EQ(rt.describe(), "");
      EXPECT_EQ(n.task_count(), 1u) << "it supervises until close()";
      rt.supervision().close();
    };
    co_await open_nursery(both);
  };
  loop->run(whole());
  EXPECT_EQ(base::threads_of_this_process(), before);
  EXPECT_TRUE(rt.stop());
  EXPECT_EQ(process_runtime::current(), nullptr);
}

TEST(ProcessRuntime, ThereIsOneAtATime) {
  process_runtime first({});
  EXPECT_THROW(process_runtime({}), error);
  EXPECT_TRUE(first.stop());
}

}  // namespace
}  // namespace coppice::tree
