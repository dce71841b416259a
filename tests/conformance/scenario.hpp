// SPDX-License-Identifier: Apache-2.0
// The fixture of tractor's scenarios with native actors, and what those tests share.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/conformance/kit.hpp"

namespace coppice::conformance {

class Scenario : public testing::TestWithParam<kind> {
 protected:
  /// Starts "subject", runs `body(self, portal)`, ends it. No error may come out.
  template <class Body>
  void with_actor(Body body) {
    EXPECT_EQ(0, run_tree([body](actor& self) -> task<> {
                auto inside = [&](actor_nursery& an) -> task<> {
                  portal p = co_await an.start_actor("subject", options_for(GetParam()));
                  co_await body(self, p);
                };
                co_await open_nursery(self, inside);
              }));
  }
  template <class Body>
  void with_two(const char* a, const char* b, Body body) {
    EXPECT_EQ(0, run_tree([=](actor& self) -> task<> {
                auto inside = [&](actor_nursery& an) -> task<> {
                  portal first = co_await an.start_actor(a, options_for(GetParam()));
                  portal second = co_await an.start_actor(b, options_for(GetParam()));
                  co_await body(self, first, second);
                };
                co_await open_nursery(self, inside);
              }));
  }
};

inline task<> rest() { co_await sleep_forever(); }

/// The error that `work` ends with, under the name by which it travels.
template <class Work>
task<std::string> error_name(Work work) {
  auto r = co_await as_result(work());
  if (auto* remote = r.template error<remote_actor_error>()) co_return remote->info().source_type;
  if (r.template error<stream_overrun>()) co_return "StreamOverrun";
  if (r.exception()) co_return describe_exception(r.exception());
  co_return "none";
}

inline std::vector<kind> native_kinds() {
  std::vector<kind> out = all_kinds();
  std::erase_if(out, [](const kind& k) { return k.python; });
  return out;
}

}  // namespace coppice::conformance
