// SPDX-License-Identifier: Apache-2.0
#include "actor/backend_table.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "actor/backends.hpp"
#include "coppice/errors.hpp"
#include "coppice/runtime.hpp"

namespace coppice::tree {
namespace {

bool mentions(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

/// Serves nobody, or Python only.
class stub_backend final : public spawn::backend {
 public:
  stub_backend(std::string_view key, std::string refusal)
      : key_(key), refusal_(std::move(refusal)) {}
  std::string_view key() const override { return key_; }
  spawn::capabilities can() const override { return {}; }
  std::optional<std::string> refusal(const spawn::child_spec& spec) override {
    if (!refusal_.empty()) return refusal_;
    if (spec.native) return "this program has no main() of ours";
    return std::nullopt;
  }
  std::optional<spawn::force_test> forced_stops(bool may_run) override {
    tested = tested || may_run;
    return spawn::force_test{.works = true, .text = {}, .took = {}};
  }
  std::unique_ptr<spawn::child> start(const spawn::child_spec&,
                                      std::shared_ptr<spawn::child_observer>) override {
    return nullptr;
  }
  bool tested = false;

 private:
  const std::string_view key_;
  const std::string refusal_;
};

backend_list some_backends() {
  backend_list all;
  all.push_back(std::make_unique<stub_backend>("process", ""));
  all.push_back(std::make_unique<stub_backend>("subint", "no Python here; set $PYTHON"));
  return all;
}

const backend_row& row_of(const std::vector<backend_row>& rows, std::string_view key) {
  return *std::ranges::find_if(rows, [&](const backend_row& r) { return r.what->key == key; });
}

TEST(BackendTable, HasARowForEveryMethodWithWhatCannotBeHadAndWhy) {
  const backend_list all = some_backends();
  const auto rows = backend_table(all, true);
  ASSERT_EQ(rows.size(), spawn::methods().size());
  EXPECT_TRUE(row_of(rows, "auto").available);
  EXPECT_TRUE(row_of(rows, "process").available);
  EXPECT_EQ(row_of(rows, "process").reason, "C++: this program has no main() of ours");
  EXPECT_FALSE(row_of(rows, "subint").available);
  EXPECT_EQ(row_of(rows, "subint").reason, "no Python here; set $PYTHON");
  EXPECT_FALSE(row_of(rows, "thread").available);
  EXPECT_TRUE(mentions(row_of(rows, "thread").reason, "no such backend")) << "nobody serves it";
}

TEST(BackendTable, TestsForcedStopsOfWhatIsServedAndOnlyIfItMay) {
  const backend_list all = some_backends();
  const auto& served = static_cast<const stub_backend&>(*all[0]);
  const auto& refused = static_cast<const stub_backend&>(*all[1]);
  EXPECT_TRUE(row_of(backend_table(all, false), "process").forced_stops);
  EXPECT_FALSE(served.tested);
  EXPECT_FALSE(row_of(backend_table(all, true), "subint").forced_stops);
  EXPECT_TRUE(served.tested);
  EXPECT_FALSE(refused.tested);
}

TEST(BackendTable, WhatNothingServesIsRefusedWithWhoAskedForIt) {
  const backend_list all = some_backends();
  refuse_unserved({}, all);
  refuse_unserved(spawn::select({.argument = "trio"}), all);  // In Python, at least.
  try {
    refuse_unserved(spawn::select({.environment = "subint"}), all);
    ADD_FAILURE() << "subint is refused";
  } catch (const backend_unavailable& e) {
    EXPECT_STREQ(e.what(),
                 "spawn method 'subint' (from COPPICE_SPAWN_METHOD) cannot be had here: no Python "
                 "here; set $PYTHON");
  }
  EXPECT_THROW(refuse_unserved(spawn::select({.command_line = "thread"}), all),
               backend_unavailable);
}

/// The variable for the length of a test.
class method_in_variable {
 public:
  explicit method_in_variable(const char* value) : before_(spawn::method_in_environment()) {
    ::setenv(spawn::method_variable, value, 1);
  }
  ~method_in_variable() {
    before_.empty() ? ::unsetenv(spawn::method_variable)
                    : ::setenv(spawn::method_variable, before_.c_str(), 1);
  }
  method_in_variable(const method_in_variable&) = delete;
  method_in_variable& operator=(const method_in_variable&) = delete;

 private:
  const std::string before_;
};

main_options quiet_options(spawn::key backend = spawn::automatic) {
  main_options o;
  o.handled = signals::none;
  o.backend = backend;
  return o;
}

/// Runs `body` as the root of a program that says so.
template <class Body>
int run_with(const main_options& options, Body body, const char* argument = nullptr) {
  std::string name = "program", more = argument ? argument : "";
  char* argv[] = {name.data(), argument ? more.data() : nullptr, nullptr};
  return run_main(argument ? 2 : 1, argv, std::move(body), options);
}

/// The key that a child which leaves it open would get there.
std::string key_in(const main_options& options, bool native) {
  std::string key;
  auto root = [&](actor&) -> task<> {
    spawn::child_spec spec;
    spec.native = native;
    key = process_runtime::current()->key_for(spec);
    co_return;
  };
  EXPECT_EQ(run_with(options, root), 0);
  return key;
}

TEST(MainOptions, BackendIsHowActorsStartThatLeaveItOpen) {
  EXPECT_EQ(key_in(quiet_options(), true), "thread");
  EXPECT_EQ(key_in(quiet_options(), false), "subint");
  EXPECT_EQ(key_in(quiet_options(spawn::process), false), "process");
  EXPECT_EQ(key_in(quiet_options(spawn::thread), true), "thread");
}

TEST(MainOptions, BackendOfAnotherLanguageSaysNothingAboutAnActor) {
  EXPECT_EQ(key_in(quiet_options(spawn::thread), false), "subint");
}

TEST(MainOptions, BackendIsOverriddenByTheEnvironment) {
  const method_in_variable says("trio");
  EXPECT_EQ(key_in(quiet_options(spawn::thread), false), "process");
}

TEST(MainOptions, TheBackendThatAnActorNamesIsNotOverridden) {
  const method_in_variable says("process");
  exit_report how;
  auto body = [&](actor_nursery& an) -> task<> {
    portal p = co_await an.start_actor("a", {.backend = spawn::thread});
    how = co_await p.cancel_actor();
  };
  auto root = [&](actor& self) -> task<> { co_await open_nursery(self, body); };
  EXPECT_EQ(run_with(quiet_options(), root), 0);
  EXPECT_EQ(how.how, exit_report::cause::returned) << "a process would have exited";
}

TEST(MainOptions, ABackendThatCannotBeServedIsRefusedWhenTheRuntimeOpens) {
  try {
    const runtime rt(quiet_options(spawn::key("no_such")));
    ADD_FAILURE() << "there is no such method";
  } catch (const backend_unavailable& e) {
    EXPECT_TRUE(mentions(e.what(), "'no_such' (from the argument)")) << e.what();
  }
  const method_in_variable says("bogus");
  try {
    const runtime rt(quiet_options());
    ADD_FAILURE() << "there is no such method";
  } catch (const backend_unavailable& e) {
    EXPECT_TRUE(mentions(e.what(), "from COPPICE_SPAWN_METHOD")) << e.what();
  }
}

TEST(RunMain, TheCommandLineOverridesTheEnvironmentAndIsHandedOn) {
  const method_in_variable says("thread");
  std::string key, inherited;
  auto root = [&](actor&) -> task<> {
    key = process_runtime::current()->options().selected.key;
    inherited = spawn::method_in_environment();
    co_return;
  };
  EXPECT_EQ(run_with(quiet_options(), root, "--coppice-spawn-method=mp_spawn"), 0);
  EXPECT_EQ(key, "process");
  EXPECT_EQ(inherited, "mp_spawn");
}

TEST(RunMain, RefusesAnUnknownMethodOnTheCommandLineWithoutRunningTheRoot) {
  bool ran = false;
  auto root = [&](actor&) -> task<> {
    ran = true;
    co_return;
  };
  testing::internal::CaptureStderr();
  EXPECT_EQ(run_with(quiet_options(), root, "--coppice-spawn-method=bogus"), 1);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_FALSE(ran);
  EXPECT_TRUE(mentions(said, "'bogus' (from the command line)")) << said;
}

TEST(StandardBackends, AreThoseOfTheirKeysAndCanWhatTheListSays) {
  const runtime rt(quiet_options());
  std::vector<std::string_view> keys;
  for (const auto& b : process_runtime::current()->backends()) {
    keys.push_back(b->key());
    const spawn::method* m = spawn::find_method(b->key());
    ASSERT_NE(m, nullptr) << b->key();
    const spawn::capabilities can = b->can();
    EXPECT_EQ(can.native, m->native) << m->key;
    EXPECT_EQ(can.python, m->python) << m->key;
    EXPECT_EQ(can.can_be_killed, m->can_be_killed) << m->key;
    EXPECT_EQ(can.in_process, m->apart != spawn::isolation::own_process) << m->key;
  }
  EXPECT_TRUE(std::ranges::equal(keys, standard_keys()));
}

}  // namespace
}  // namespace coppice::tree
