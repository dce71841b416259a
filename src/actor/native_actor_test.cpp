// SPDX-License-Identifier: Apache-2.0
#include "actor/native_actor.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/thread.hpp"
#include "coppice/time.hpp"
#include "ipc/memory_link.hpp"
#include "port/guest_port.hpp"

namespace coppice::tree {
namespace {

msg::aid named(const std::string& name) {
  msg::aid a;
  a.name = name;
  a.uuid = "uuid-of-" + name;
  a.extensions.emplace();
  return a;
}

/// An actor whose loop does not run, as that of one that is busy does not, and what is heard of
/// its child "kid".
class NativeActor : public testing::Test {
 protected:
  void SetUp() override {
    loop = std::make_shared<core::loop>();
    parent = std::make_shared<native_actor>(runtime, loop, named("parent"), std::vector<exposed>());
    parent->adopt("uuid-of-kid", {.on_connected =
                                      [this](const ipc::link_ptr& l) {
                                        heard.push_back(l->peer().name);
                                        on = std::this_thread::get_id();
                                      },
                                  .on_lost = {}});
  }
  void TearDown() override {
    loop->run([](native_actor* of) -> task<> {
      of->close("the test is over");
      co_await checkpoint();
    }(parent.get()));
    parent.reset();
    EXPECT_TRUE(runtime.stop());
  }
  void connect(const std::string& name) {
    auto port = std::make_shared<port::guest_port>(named(name), port::table_limits{});
    ipc::connect_memory(named(name), port, parent->self(), parent);
  }

  process_runtime runtime{{}};
  std::shared_ptr<core::loop> loop;
  std::shared_ptr<native_actor> parent;
  std::vector<std::string> heard;
  std::thread::id on;
};

TEST_F(NativeActor, WhoWatchesAChildHearsOfItsLinkThoughTheLoopIsBusy) {
  base::os_thread other("other", [this] {
    connect("kid");
    EXPECT_EQ(on, std::this_thread::get_id());
  });
  other.join();
  EXPECT_EQ(heard, std::vector<std::string>{"kid"});
}

TEST_F(NativeActor, OfLinksWithAChildsNameOnlyTheFirstIsHeardOf) {
  connect("kid");
  connect("kid");
  connect("other");
  EXPECT_EQ(heard, std::vector<std::string>{"kid"});
}

TEST_F(NativeActor, OfAChildThatHasFailedToStartNothingIsHeard) {
  port::child_changed change;
  change.what = port::child_changed::kind::start_failed;
  change.uuid = "uuid-of-kid";
  parent->child_changed(std::move(change));
  connect("kid");
  EXPECT_EQ(heard, std::vector<std::string>{});
}

}  // namespace
}  // namespace coppice::tree
