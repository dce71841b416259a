// SPDX-License-Identifier: Apache-2.0
#include "coppice/discovery.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/fd.hpp"
#include "coppice/runtime.hpp"
#include "coppice/time.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

std::string whoami(actor& self) { return std::string(self.name()); }
inline constexpr endpoint whoami_e{"found:whoami", whoami};

task<std::string> meet(actor& self, std::string other) {
  found_actor them = co_await wait_for_actor(self, other);
  co_return co_await them->run(whoami_e);
}
inline constexpr endpoint meet_e{"found:meet", meet, "other"};

class folder {
 public:
  folder() {
    char name[] = "/tmp/cpc-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~folder() { fs::remove_all(path_); }
  const std::string& path() const { return path_; }
  /// As users write it.
  std::string address(const std::string& file) const { return "('" + path_ + "', '" + file + "')"; }

 private:
  std::string path_;
};

main_options options(std::vector<std::string> registry = {}) {
  main_options o;
  o.endpoints = {whoami_e, meet_e};
  o.handled = signals::none;
  o.stalls = {.after = 0s};
  o.registry_addrs = std::move(registry);
  return o;
}

template <class Body>
void in_tree(Body body, main_options o = options()) {
  runtime rt(std::move(o));
  rt.run([&](actor& self) -> task<> { co_await body(self); });
  EXPECT_TRUE(rt.stop());
}

TEST(Discovery, AnActorIsFoundByNameAndByUuidAndNobodyIsNobody) {
  in_tree([](actor& self) -> task<> {
    auto body = [&self](actor_nursery& an) -> task<> {
      portal p = co_await an.start_actor("worker", {.backend = spawn::thread});
      found_actor by_name = co_await find_actor(self, "worker");
      const std::string uuid = p.id().uuid;
      found_actor by_uuid = co_await find_actor(self, uuid);
      found_actor nobody = co_await find_actor(self, "nobody");
      EXPECT_TRUE(by_name);
      EXPECT_TRUE(by_uuid);
      EXPECT_FALSE(nobody);
      if (by_name) {
        const std::string said = co_await by_name->run(whoami_e);
        EXPECT_EQ(said, "worker");
        EXPECT_EQ(by_name->id(), p.id());
      }
    };
    co_await open_nursery(self, body);
  });
}

TEST(Discovery, AnActorIsRegisteredFromItsStartToItsEnd) {
  in_tree([](actor& self) -> task<> {
    auto body = [&self](actor_nursery& an) -> task<> {
      portal p = co_await an.start_actor("worker", {.backend = spawn::thread});
      const std::string key = "worker." + p.id().uuid;
      auto all = co_await get_registry(self);
      EXPECT_EQ(all.size(), 2u);
      EXPECT_EQ(all[key].size(), 1u);
      const auto where = co_await query_actor(self, "worker");
      EXPECT_EQ(where, all[key]);
      co_await p.cancel_actor();
      all = co_await get_registry(self);
      EXPECT_FALSE(all.contains(key));
      const auto nowhere = co_await query_actor(self, "worker");
      EXPECT_TRUE(nowhere.empty());
      found_actor gone = co_await find_actor(self, "worker");
      EXPECT_FALSE(gone);
    };
    co_await open_nursery(self, body);
  });
}

TEST(Discovery, TwoActorsWaitForEachOther) {
  in_tree([](actor& self) -> task<> {
    auto body = [](actor_nursery& an) -> task<> {
      portal a = co_await an.start_actor("a", {.backend = spawn::thread});
      std::string heard;
      an.start_soon(
          [](portal of, std::string* out) -> task<> { *out = co_await of.run(meet_e, "b"); }, a,
          &heard);
      co_await checkpoint();
      EXPECT_EQ(heard, "");
      portal b = co_await an.start_actor("b", {.backend = spawn::thread});
      const std::string other = co_await b.run(meet_e, "a");
      EXPECT_EQ(other, "a");
      while (heard.empty()) co_await sleep_for(1ms);
      EXPECT_EQ(heard, "b");
    };
    co_await open_nursery(self, body);
  });
}

TEST(Discovery, ACancelledWaitIsWithdrawnAndTheNextOneWorks) {
  in_tree([](actor& self) -> task<> {
    auto waiting = [&self]() -> task<> {
      found_actor never = co_await wait_for_actor(self, "late");
      EXPECT_FALSE(true) << "nobody is there";
    };
    co_await move_on_after(20ms, waiting());
    auto body = [&self](actor_nursery& an) -> task<> {
      co_await an.start_actor("late", {.backend = spawn::thread});
      found_actor late = co_await wait_for_actor(self, "late");
      EXPECT_TRUE(late);
    };
    co_await open_nursery(self, body);
  });
}

TEST(Discovery, CallsToAnActorThatHasEndedSayThatTheConnectionHas) {
  in_tree([](actor& self) -> task<> {
    found_actor kept;
    auto body = [&](actor_nursery& an) -> task<> {
      co_await an.start_actor("short", {.backend = spawn::thread});
      kept = co_await find_actor(self, "short");
      EXPECT_TRUE(kept);
    };
    co_await open_nursery(self, body);
    bool refused = false;
    try {
      co_await kept->run(whoami_e);
    } catch (const transport_closed&) {
      refused = true;
    }
    EXPECT_TRUE(refused);
  });
}

TEST(Discovery, ARootListensAtItsRegistryAddressesAndNoLongerThanItLives) {
  const folder at;
  in_tree(
      [&](actor& self) -> task<> {
        EXPECT_TRUE(fs::exists(at.path() + "/a.sock"));
        const auto where = co_await query_actor(self, self.name());
        EXPECT_EQ(where.size(), 2u);
      },
      options({at.address("a.sock"), at.address("b.sock")}));
  EXPECT_FALSE(fs::exists(at.path() + "/a.sock"));
  EXPECT_FALSE(fs::exists(at.path() + "/b.sock"));
}

TEST(Discovery, WhatListensAtARegistryAddressAndIsNoRegistrarIsAnErrorThatNamesIt) {
  const folder at;
  const base::unique_fd silent(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  const std::string path = at.path() + "/taken.sock";
  std::memcpy(where.sun_path, path.c_str(), path.size());
  ASSERT_EQ(::bind(silent.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where), 0);
  ASSERT_EQ(::listen(silent.get(), 8), 0);
  std::string said;
  try {
    runtime rt(options({at.address("taken.sock")}));
  } catch (const error& e) {
    said = e.what();
  }
  EXPECT_NE(said.find("taken.sock"), std::string::npos) << said;
}

TEST(Discovery, ATextThatIsNoAddressIsRefusedAtOnce) {
  EXPECT_THROW(runtime rt(options({"nonsense"})), protocol_error);
}

TEST(Discovery, ARegistrarThatIsNotThereCannotBeAsked) {
  const folder at;
  in_tree([&](actor& self) -> task<> {
    const std::string nobody = at.address("nobody.sock");
    bool refused = false;
    try {
      co_await find_actor(self, "x", {.registry_addrs = {nobody}});
    } catch (const transport_closed& e) {
      refused = std::string(e.what()).find("nobody.sock") != std::string::npos;
    }
    EXPECT_TRUE(refused);
  });
}

}  // namespace
}  // namespace coppice
