// SPDX-License-Identifier: Apache-2.0
// Tests of the simulator: it repeats itself, and tries what it says it does.
#include <gtest/gtest.h>

#include <string>

#include "run_for_test.hpp"

namespace coppice::sim {
namespace {

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

}  // namespace
}  // namespace coppice::sim
