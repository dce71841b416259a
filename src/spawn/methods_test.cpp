// SPDX-License-Identifier: Apache-2.0
#include "spawn/methods.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <set>
#include <string>
#include <vector>

#include "coppice/errors.hpp"

namespace coppice::spawn {
namespace {

std::string refusal_of(const wishes& w) {
  try {
    (void)select(w);
  } catch (const backend_unavailable& e) {
    return e.what();
  }
  return "";
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST(SpawnMethods, EveryConstantHasARowAndEveryNameIsThereOnce) {
  std::set<std::string_view> keys, names;
  for (const method& m : methods()) {
    EXPECT_TRUE(keys.insert(m.key).second) << m.key;
    EXPECT_TRUE(names.insert(m.key).second) << m.key;
    for (std::string_view alias : m.aliases) EXPECT_TRUE(names.insert(alias).second) << alias;
    EXPECT_TRUE(m.native || m.python) << m.key;
    EXPECT_FALSE(m.text.empty() || m.needs.empty()) << m.key;
    EXPECT_EQ(m.text.find('\n'), m.text.npos) << m.key;
  }
  for (key k : {automatic, thread, process, forkserver, subint, subint_fork, subint_forkserver})
    EXPECT_EQ(keys.count(k.text()), 1u) << k.text();
  EXPECT_EQ(keys.size(), 7u);
}

TEST(SpawnMethods, AreFoundByTractorsAndMultiprocessingsNames) {
  EXPECT_EQ(parse("trio"), process);
  EXPECT_EQ(parse("mp_spawn"), process);
  EXPECT_EQ(parse("spawn"), process);
  EXPECT_EQ(parse("mp_forkserver"), forkserver);
  EXPECT_EQ(parse("main_thread_forkserver"), forkserver);
  EXPECT_EQ(parse("subint_forkserver"), subint_forkserver);
  EXPECT_EQ(find_method("fork"), nullptr);
}

TEST(SpawnMethods, OnlyAProcessCanBeKilledWhateverItDoes) {
  for (const method& m : methods()) {
    if (m.key == automatic.text()) continue;
    EXPECT_EQ(m.can_be_killed, m.apart == isolation::own_process) << m.key;
  }
}

TEST(SpawnSelection, TheEnvironmentBeatsTheArgumentAndTheCommandLineBeatsBoth) {
  EXPECT_EQ(select({}).key, "auto");
  selection s = select({.argument = "subint"});
  EXPECT_EQ(s.key, "subint");
  EXPECT_EQ(s.by, asked_by::argument);
  s = select({.argument = "subint", .environment = "process"});
  EXPECT_EQ(s.key, "process");
  EXPECT_EQ(s.by, asked_by::environment);
  s = select({.argument = "subint", .environment = "process", .command_line = "thread"});
  EXPECT_EQ(s.key, "thread");
  EXPECT_EQ(s.by, asked_by::command_line);
  s = select({.argument = "subint", .environment = "auto"});
  EXPECT_EQ(s.key, "auto");
}

TEST(SpawnSelection, AnAliasIsSelectedAsItsKeyAndDescribedAsItWasWritten) {
  const selection s = select({.environment = "mp_spawn"});
  EXPECT_EQ(s.key, "process");
  EXPECT_EQ(s.describe(), "spawn method 'process' (mp_spawn, from COPPICE_SPAWN_METHOD)");
  EXPECT_EQ(select({.argument = "subint"}).describe(), "spawn method 'subint' (from the argument)");
}

TEST(SpawnSelection, AnUnknownNameIsRefusedWithWhoSaidItAndTheNamesThatThereAre) {
  const std::string by_argument = refusal_of({.argument = "thraed"});
  EXPECT_TRUE(has(by_argument, "'thraed' (from the argument)")) << by_argument;
  EXPECT_TRUE(has(by_argument, "process (or trio, mp_spawn, spawn)")) << by_argument;
  const std::string by_variable = refusal_of({.argument = "thread", .environment = "thraed"});
  EXPECT_TRUE(has(by_variable, "from COPPICE_SPAWN_METHOD")) << by_variable;
  const std::string typed = refusal_of({.environment = "thread", .command_line = "thraed"});
  EXPECT_TRUE(has(typed, "from the command line")) << typed;
}

TEST(SpawnSelection, WhatIsOverruledIsNotEvenLookedAt) {
  EXPECT_EQ(select({.argument = "thraed", .command_line = "subint"}).key, "subint");
}

TEST(SpawnSelection, TheCommandLineIsReadUpToTwoDashesAndTheLastOneCounts) {
  const auto of = [](std::vector<const char*> argv) {
    argv.insert(argv.begin(), "program");
    return method_in_arguments(static_cast<int>(argv.size()), argv.data());
  };
  EXPECT_EQ(of({}), "");
  EXPECT_EQ(of({"--verbose", "--coppice-spawn-method", "process"}), "process");
  EXPECT_EQ(of({"--coppice-spawn-method=subint", "file"}), "subint");
  EXPECT_EQ(of({"--coppice-spawn-method=subint", "--coppice-spawn-method=process"}), "process");
  EXPECT_EQ(of({"--", "--coppice-spawn-method=subint"}), "");
  EXPECT_EQ(of({"--coppice-spawn-methods"}), "");
  EXPECT_THROW(of({"--coppice-spawn-method"}), error);
  EXPECT_THROW(of({"--coppice-spawn-method="}), error);
}

TEST(SpawnSelection, OnlyTheCommandLineIsHandedOnToTheEnvironmentOfChildren) {
  const std::string before = method_in_environment();
  ::unsetenv(method_variable);
  hand_on(select({.argument = "process"}));
  EXPECT_EQ(method_in_environment(), "");
  hand_on(select({.command_line = "trio"}));
  EXPECT_EQ(method_in_environment(), "trio");
  before.empty() ? ::unsetenv(method_variable) : ::setenv(method_variable, before.c_str(), 1);
}

}  // namespace
}  // namespace coppice::spawn
