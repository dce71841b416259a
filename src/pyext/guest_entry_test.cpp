// SPDX-License-Identifier: Apache-2.0
// Guests as their supervisor and their parent see them: the subint backend over real interpreters.
#include "pyext/guest_entry.hpp"

#include "pyext/subint_for_test.hpp"

namespace coppice::py::subint_tests {
namespace {

TEST_F(SubintBackend, AGuestConnectsServesAndEndsWhenItIsTold) {
  EXPECT_EQ(start(), "None");
  EXPECT_EQ(call("uid"), "['worker', 'worker-uuid']");
  end();
  EXPECT_EQ(parent_->outcome("end"), "acknowledged");
  EXPECT_EQ(observer_->report().how, exit_report::cause::returned);
  EXPECT_TRUE(parent_->closed());
  EXPECT_EQ(live_interpreters().load(), 0u);
}

TEST_F(SubintBackend, AGuestOfPlainFunctionsImportsNothingThatItsModulesDoNot) {
  EXPECT_EQ(start(), "None");
  EXPECT_EQ(call("double"), "TypeError: double() missing 1 required positional argument: 'x'");
  EXPECT_EQ(call("modules"), "[]");
  end();
}

TEST_F(SubintBackend, AGuestWithASharedGilServesLikewise) {
  EXPECT_EQ(start("stuckable", gil_mode::shared), "None");
  EXPECT_EQ(call("uid"), "['worker', 'worker-uuid']");
  end();
}

TEST_F(SubintBackend, AModuleThatDoesNotImportIsTheAnswerAndTheReason) {
  std::ofstream(folder_ / "broken.py") << "raise OSError('disk on fire')";
  EXPECT_EQ(start("broken"), "OSError: disk on fire");
  end();
  EXPECT_EQ(observer_->report().how, exit_report::cause::failed);
  EXPECT_EQ(observer_->report().detail, "its modules did not import: OSError: disk on fire");
}

TEST_F(SubintBackend, AnExtensionThatRefusesAnOwnGilIsNamedWithTheWaysOut) {
  std::ofstream(folder_ / "picky.py") << "import faulthandler";
  const std::string text = start("picky");
  EXPECT_NE(text.find("faulthandler"), std::string::npos) << text;
  EXPECT_NE(text.find("process"), std::string::npos) << text;
  end();
}

TEST_F(SubintBackend, ACancelledCallIsStruckAndTheActorGoesOn) {
  EXPECT_EQ(start(), "None");
  for (const char* func : {"loop", "sleep", "wait"}) {
    const std::string cid = std::string("stuck in ") + func;
    say(cid, "stuckable", func);
    say("cancel " + cid, "self", "_cancel_task", {{"cid", cid}});
    // Before it began or while it ran: either way it is over.
    EXPECT_EQ(parent_->outcome(cid).substr(0, 41), "ContextCancelled: cancelled by its caller");
    EXPECT_EQ(parent_->outcome("cancel " + cid), "acknowledged");
  }
  EXPECT_EQ(call("uid"), "['worker', 'worker-uuid']");
  end();
}

TEST_F(SubintBackend, InterruptEndsAGuestThatIsStuckInPython) {
  for (const char* func : {"loop", "sleep", "wait"}) {
    SCOPED_TRACE(func);
    EXPECT_EQ(start(), "None");
    get_stuck(func);
    EXPECT_TRUE(child_->interrupt());
    EXPECT_TRUE(observer_->wait_ended());
    EXPECT_EQ(parent_->outcome("stuck"), "ContextCancelled: interrupted");
    child_.reset();
    parent_ = std::make_shared<waiting_parent>();
    observer_ = std::make_shared<waiting_observer>();
  }
}

TEST_F(SubintBackend, ForceEndsAGuestThatNoInterruptReachesAndClosesItsLink) {
  EXPECT_EQ(start(), "None");
  get_stuck("lock");
  EXPECT_TRUE(child_->interrupt());
  EXPECT_TRUE(observer_->wait_deaf());
  EXPECT_TRUE(child_->force());
  EXPECT_TRUE(observer_->wait_ended());
  EXPECT_TRUE(parent_->closed());
  EXPECT_EQ(live_interpreters().load(), 0u);
}

TEST_F(SubintBackend, AnAbandonedGuestReportsWhenItsCodeComesBack) {
  EXPECT_EQ(start(), "None");
  get_stuck("native");
  EXPECT_TRUE(child_->force());
  EXPECT_TRUE(observer_->wait_native());
  child_->abandon();
  EXPECT_TRUE(parent_->closed()) << "at once: nobody waits for native code";
  EXPECT_NE(child_->describe().find("native code"), std::string::npos) << child_->describe();
  EXPECT_TRUE(observer_->wait_ended(60s));
  EXPECT_EQ(observer_->report().rung, rung::reclaimed);
}

TEST_F(SubintBackend, AGuestStoppedWhileItStartsLeavesNothing) {
  child_ = backend_->start(spec(), observer_);
  child_->force();
  EXPECT_TRUE(observer_->wait_ended());
}

TEST_F(SubintBackend, RefusalsAreSentences) {
  auto s = spec();
  EXPECT_FALSE(backend_->refusal(s));
  s.native = true;
  EXPECT_NE(backend_->refusal(s)->find("use 'thread' or 'process'"), std::string::npos);
  s.native = false;
  s.cwd = "/";
  EXPECT_NE(backend_->refusal(s)->find("working directory"), std::string::npos);
  auto none = spawn::make_subint_backend(nullptr, "no Python here; install one", {});
  EXPECT_EQ(none->refusal(spec()), "no Python here; install one");
}

}  // namespace
}  // namespace coppice::py::subint_tests
