// SPDX-License-Identifier: Apache-2.0
// Tests of the simulator: it repeats itself, it finds what is planted, it says how to repeat it.
#include <gtest/gtest.h>
#include <stdio.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace coppice::sim {
namespace {

constexpr int seeds_to_find_a_bug = 200;

struct ended {
  int status = -1;
  std::string output;
};

/// Runs a program of this folder, or a whole command line.
ended run(const std::string& command) {
  ended out;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return out;
  char part[4096];
  while (const std::size_t n = std::fread(part, 1, sizeof part, pipe)) out.output.append(part, n);
  const int how = ::pclose(pipe);
  out.status = WIFEXITED(how) ? WEXITSTATUS(how) : -1;
  return out;
}
std::string program(const std::string& name) {
  return (std::filesystem::path(COPPICE_SIM_FOLDER) / name).string();
}

/// The rest of the last line that begins so; empty: there is none.
std::string line_after(const std::string& text, const std::string& beginning) {
  const auto at = text.rfind("\n" + beginning);
  if (at == std::string::npos) return {};
  const auto from = at + 1 + beginning.size();
  return text.substr(from, text.find('\n', from) - from);
}

TEST(Sim, TheSameSeedIsTheSameRun) {
  const ended first = run(program("sim") + " --hash --seeds 50");
  EXPECT_EQ(first.status, 0) << first.output;
  EXPECT_NE(first.output.find("seed 49: "), std::string::npos) << first.output;
  EXPECT_EQ(run(program("sim") + " --hash --seeds 50").output, first.output)
      << "in another process, where everything lies at other addresses";
  const ended alone = run(program("sim") + " --hash --seed 30");
  EXPECT_EQ(line_after("\n" + alone.output, "seed 30: "), line_after(first.output, "seed 30: "))
      << "whatever ran before it";
  EXPECT_NE(line_after(first.output, "seed 31: "), line_after(first.output, "seed 30: "));
}

TEST(Sim, EveryKindOfEndOfACallIsTried) {
  const ended all = run(program("sim") + " --seeds 300");
  EXPECT_EQ(all.status, 0) << all.output;
  for (const char* never : {" 0 values", " 0 errors,", " 0 cancelled", " 0 stuck", " 0 died",
                            " 0 closed", " 0 errors thrown", " 0 killed", " 0 abandoned"})
    EXPECT_EQ(all.output.find(never), std::string::npos) << never << ": " << all.output;
}

TEST(Sim, WithoutFaultsNoActorDies) {
  const ended calm = run(program("sim") + " --seeds 100 --faults none");
  EXPECT_EQ(calm.status, 0) << calm.output;
  EXPECT_NE(calm.output.find(" 0 killed, 0 abandoned"), std::string::npos) << calm.output;
  EXPECT_NE(calm.output.find(" 0 stuck"), std::string::npos) << calm.output;
}

TEST(Sim, ArgumentsThatItDoesNotKnowAreNamed) {
  const ended unknown = run(program("sim") + " --sedes 5");
  EXPECT_EQ(unknown.status, 2);
  EXPECT_EQ(unknown.output, "sim: unknown argument '--sedes': see --help\n");
  EXPECT_EQ(run(program("sim") + " --seeds many").output,
            "sim: --seeds takes a number, not 'many'\n");
  EXPECT_EQ(run(program("sim") + " --seed").output, "sim: --seed takes a value\n");
  EXPECT_EQ(run(program("sim") + " --faults kill,flood").output,
            "sim: there is no fault 'flood': see --help\n");
  EXPECT_EQ(run(program("sim") + " --help").status, 0);
}

// The bugs are planted in copies of our sources, see CMakeLists.txt.
class Planted : public testing::TestWithParam<const char*> {};

TEST_P(Planted, IsFoundAndItsSeedFindsItAgain) {
  const std::string seeds = " --seeds " + std::to_string(seeds_to_find_a_bug);
  const ended found = run(program(GetParam()) + seeds);
  EXPECT_EQ(found.status, 1) << found.output;
  const std::string what = line_after(found.output, "seed ");
  const std::string repeat = line_after(found.output, "repeat with: ");
  ASSERT_FALSE(what.empty()) << found.output;
  ASSERT_FALSE(repeat.empty()) << found.output;
  RecordProperty("found", "seed " + what);
  const ended again = run(repeat);
  EXPECT_EQ(again.status, 1);
  EXPECT_EQ(line_after(again.output, "seed "), what);
}
INSTANTIATE_TEST_SUITE_P(Bugs, Planted,
                         testing::Values("sim_lost_wakeup", "sim_swallowed_error",
                                         "sim_swallowed_failure", "sim_lost_reply",
                                         "sim_orphaned_callee"),
                         [](const auto& one) { return std::string(one.param); });

}  // namespace
}  // namespace coppice::sim
