// SPDX-License-Identifier: Apache-2.0
#include "coppice/guest_budget.hpp"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>

#include "actor/process_runtime.hpp"
#include "coppice/errors.hpp"

namespace coppice::tree {
namespace {

using namespace std::chrono_literals;

/// Has left behind what the test says.
class worn_backend final : public spawn::backend {
 public:
  explicit worn_backend(std::string_view key) : key_(key) {}
  std::string_view key() const override { return key_; }
  spawn::capabilities can() const override { return {.python = true}; }
  std::optional<std::string> refusal(const spawn::child_spec&) override { return std::nullopt; }
  spawn::leftovers left_behind() const override { return left; }
  std::unique_ptr<spawn::child> start(const spawn::child_spec&,
                                      std::shared_ptr<spawn::child_observer>) override {
    return nullptr;
  }
  spawn::leftovers left;

 private:
  const std::string_view key_;
};

struct worn_runtime {
  explicit worn_runtime(guest_budget budget, spawn::leftovers left) {
    process_options options;
    options.guests = budget;
    options.make_backends = [left](process_runtime&) {
      std::vector<std::unique_ptr<spawn::backend>> all;
      auto worn = std::make_unique<worn_backend>("subint");
      worn->left = left;
      all.push_back(std::move(worn));
      all.push_back(std::make_unique<worn_backend>("subint_forkserver"));
      return all;
    };
    rt = std::make_unique<process_runtime>(std::move(options));
  }
  std::string chosen() { return std::string(rt->backend_for("subint", {}).key()); }
  std::string refused() {
    try {
      return "no: " + chosen();
    } catch (const backend_unavailable& e) {
      return e.what();
    }
  }
  std::unique_ptr<process_runtime> rt;
};

TEST(GuestBudget, BelowBothBoundsNothingHappens) {
  worn_runtime r({.forced_max = 3, .quarantined_max = 2}, {.forced = 2, .quarantined = 1});
  EXPECT_EQ(r.chosen(), "subint");
  EXPECT_TRUE(r.rt->place("subint").why.empty());
}

TEST(GuestBudget, AtTheBoundOfForcedStopsNewGuestsAreRefusedWithTheWaysOut) {
  worn_runtime r({.forced_max = 3}, {.forced = 3});
  const std::string why = r.refused();
  EXPECT_NE(why.find("3 actors of this process were stopped by force"), std::string::npos) << why;
  EXPECT_NE(why.find("'subint_forkserver' or 'process'"), std::string::npos) << why;
}

TEST(GuestBudget, AtTheBoundOfQuarantineToo) {
  worn_runtime r({.quarantined_max = 1}, {.quarantined = 1});
  EXPECT_NE(r.refused().find("stuck in native code"), std::string::npos);
}

TEST(GuestBudget, OtherProcessStartsThemThereAndSaysWhy) {
  worn_runtime r({.forced_max = 3, .then = guest_budget::policy::other_process}, {.forced = 5});
  EXPECT_EQ(r.chosen(), "subint_forkserver");
  EXPECT_NE(r.rt->place("subint").why.find("5 actors"), std::string::npos);
}

TEST(GuestBudget, EndRefusesAndCancelsTheRoot) {
  worn_runtime r({.forced_max = 3, .then = guest_budget::policy::end}, {.forced = 3});
  std::promise<std::string> told;
  r.rt->on_interrupt([&](std::string why) { told.set_value(std::move(why)); });
  EXPECT_NE(r.refused().find("forced_max"), std::string::npos);
  auto why = told.get_future();
  ASSERT_EQ(why.wait_for(10s), std::future_status::ready);
  EXPECT_NE(why.get().find("stopped by force"), std::string::npos);
  r.rt->on_interrupt({});
}

TEST(GuestBudget, WhatIsLeftIsShown) {
  worn_runtime r({}, {.forced = 2, .quarantined = 1});
  const std::string text = r.rt->describe();
  EXPECT_NE(text.find("subint: 2 of 256 stopped by force, 1 of 16 in quarantine"),
            std::string::npos)
      << text;
}

}  // namespace
}  // namespace coppice::tree
