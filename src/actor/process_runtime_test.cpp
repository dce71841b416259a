// SPDX-License-Identifier: Apache-2.0
#include "actor/process_runtime.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

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

/// A backend with a stock, and nothing else.
class stocked_backend final : public spawn::backend {
 public:
  explicit stocked_backend(std::vector<std::string>& seen) : seen_(seen) {}
  std::string_view key() const override { return "stocked"; }
  spawn::capabilities can() const override { return {}; }
  std::optional<std::string> refusal(const spawn::child_spec&) override { return "none here"; }
  std::unique_ptr<spawn::child> start(const spawn::child_spec&,
                                      std::shared_ptr<spawn::child_observer>) override {
    return nullptr;
  }
  void stock_up(const spawn::stock_order& o) override {
    seen_.push_back("up " + std::to_string(o.pool.size));
  }
  void clear_stock() noexcept override { seen_.emplace_back("clear"); }
  void shut_down() override { seen_.emplace_back("shut down"); }
  void describe_stock(base::tree_writer& w) const override { w.line("three in stock"); }
  std::vector<std::string> quarantined_stock() const override {
    return seen_.size() == 1 ? std::vector<std::string>{"stuck in import of x"}
                             : std::vector<std::string>();
  }

 private:
  std::vector<std::string>& seen_;
};

TEST(ProcessRuntime, AStockIsMadeWhenAskedForShownAndClearedAsTheRuntimeBeginsToStop) {
  std::vector<std::string> seen;
  process_options options;
  options.make_backends = [&seen](process_runtime&) {
    std::vector<std::unique_ptr<spawn::backend>> all;
    all.push_back(std::make_unique<stocked_backend>(seen));
    return all;
  };
  process_runtime rt(std::move(options));
  spawn::stock_order order;
  rt.stock_up(order);
  EXPECT_TRUE(seen.empty()) << "of size 0";
  order.pool.size = warm_pool::size_max + 1;
  EXPECT_THROW(rt.stock_up(order), backend_unavailable);
  order.pool.size = 3;
  rt.stock_up(order);
  EXPECT_EQ(seen, std::vector<std::string>{"up 3"});
  EXPECT_EQ(rt.describe(), "three in stock\n");
  const auto stuck = rt.quarantined();
  ASSERT_EQ(stuck.size(), 1u);
  EXPECT_EQ(stuck[0].where, "stuck in import of x");
  seen.emplace_back("it came back");
  EXPECT_TRUE(rt.stop());
  EXPECT_EQ(seen, (std::vector<std::string>{"up 3", "it came back", "clear", "shut down"}));
}

}  // namespace
}  // namespace coppice::tree
