// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "coppice/introspect.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

task_tree example() {
  task_tree tree{.loop = "main", .slices = 1, .slice_max = 20us, .loop_time = 20us};
  task_info root{.id = 1, .name = "main", .state = task_info::phase::waiting};
  root.waits_for = "the tasks of 'crowd'";
  root.waits_since = 2500ms;
  root.scopes.push_back({.name = "main"});
  root.scopes.push_back({.name = "crowd",
                         .cancelled = true,
                         .cancelled_by = "crowd: seen \"enough\"",
                         .canceller = "task 'main'"});
  root.nurseries.push_back({.name = "crowd", .tasks = 1, .scope = 1});
  task_info child{.id = 7, .parent = 1, .nursery = 0, .coroutine = "serve(int)"};
  child.scopes.push_back({.name = "fail_after(2s)", .deadline_in = -1500ms, .shield = true});
  task_info lost{.id = 9, .parent = 4, .name = "lost", .state = task_info::phase::running};
  tree.tasks = {root, child, lost};
  return tree;
}

TEST(TaskTree, AsTextIsAnIndentedTree) {
  EXPECT_EQ(example().to_text(),
            "loop 'main': 3 tasks\n"
            "  task 1 'main': waits for the tasks of 'crowd', since 2.5s\n"
            "    scope 'main'\n"
            "    nursery 'crowd', 1 tasks, cancelled by crowd: seen \"enough\" "
            "(asked by task 'main')\n"
            "      task 7: ready, in serve(int)\n"
            "        scope 'fail_after(2s)', shielded, deadline in -1.5s\n"
            "  task 9 'lost': running\n");
}

TEST(TaskTree, AsJsonHasTheDocumentedFields) {
  EXPECT_EQ(
      example().to_json(),
      R"_({"format":"coppice.task_tree","version":1,"loop":"main","outcome":"complete",)_"
      R"_("stalled_seconds":null,"stalled_by":null,)_"
      R"_("cost":{"slices":1,"slice_max_seconds":0.000020000,"loop_seconds":0.000020000},)_"
      R"_("tasks":[)_"
      R"_({"id":1,"parent":null,"nursery":null,"name":"main","coroutine":null,"state":"waiting",)_"
      R"_("waits_for":"the tasks of 'crowd'","waits_since_seconds":2.500000000,"scopes":[)_"
      R"_({"name":"main","deadline_seconds":null,"shield":false,"cancelled":false,)_"
      R"_("cancelled_by":null,"canceller":null},)_"
      R"_({"name":"crowd","deadline_seconds":null,"shield":false,"cancelled":true,)_"
      R"_("cancelled_by":"crowd: seen \"enough\"","canceller":"task 'main'"}],)_"
      R"_("nurseries":[{"name":"crowd","tasks":1,"scope":1}]},)_"
      R"_({"id":7,"parent":1,"nursery":0,"name":null,"coroutine":"serve(int)","state":"ready",)_"
      R"_("waits_for":null,"waits_since_seconds":null,"scopes":[)_"
      R"_({"name":"fail_after(2s)","deadline_seconds":-1.500000000,"shield":true,)_"
      R"_("cancelled":false,"cancelled_by":null,"canceller":null}],)_"
      R"_("nurseries":[]},)_"
      R"_({"id":9,"parent":4,"nursery":null,"name":"lost","coroutine":null,"state":"running",)_"
      R"_("waits_for":null,"waits_since_seconds":null,"scopes":[],"nurseries":[]}],)_"
      R"_("quarantine":[]})_");
}

TEST(TaskTree, JsonIsValidWhateverANameHolds) {
  task_tree tree{.loop =
                     "q\"b\\n\nu\xc3\xa4"
                     "bad\xff\xc0\xaf"
                     "cut\xe2\x82"};
  EXPECT_NE(tree.to_json().find("\"loop\":\"q\\\"b\\\\n\\u000au\xc3\xa4"
                                "bad\\ufffd\\ufffd\\ufffdcut\\ufffd\\ufffd\""),
            std::string::npos)
      << tree.to_json();
}

TEST(TaskTree, AStallIsInBoth) {
  task_tree tree{.how = task_tree::outcome::stalled,
                 .loop = "main",
                 .stalled_for = 1500ms,
                 .stalled_by = "'hog'"};
  EXPECT_EQ(tree.to_text(), "loop 'main': stalled for 1.5s or more by 'hog'\n");
  EXPECT_NE(tree.to_json().find(
                R"_("outcome":"stalled","stalled_seconds":1.500000000,"stalled_by":"'hog'")_"),
            std::string::npos);
}

TEST(TaskTree, TextOfATreeAsDeepAsItIsLongNeedsNoStack) {
  task_tree tree;
  for (std::uint64_t i = 1; i <= 3'000; ++i) {
    task_info t{.id = i, .parent = i - 1, .nursery = i == 1 ? task_info::unknown : 0};
    t.nurseries.push_back({.name = "", .tasks = 1, .scope = 0});
    tree.tasks.push_back(std::move(t));
  }
  EXPECT_GT(tree.to_text().size(), 3'000u);
}

}  // namespace
}  // namespace coppice
