// SPDX-License-Identifier: Apache-2.0
// Warm guests, by what coppice/warm.hpp promises: made ahead, taken once, and like a cold one.
#include "pyext/warm_up.hpp"

#include <cstdlib>

#include "base/describe.hpp"
#include "coppice/warm.hpp"
#include "pyext/subint_for_test.hpp"
#include "pyhost/guest_core.hpp"
#include "pyhost/guest_functions.hpp"
#include "pyhost/parking.hpp"
#include "spawn/subint/warm_stock.hpp"

namespace coppice::py::subint_tests {
namespace {

constexpr const char* self_portrait = R"(
import sys
def portrait():
  import gc, os, random, threading, warnings
  main = sys.modules['__main__']
  with open('/proc/thread-self/comm') as comm: thread = comm.read().strip()
  return repr([
    thread, threading.current_thread() is threading.main_thread(), threading.active_count(),
    main.__name__, sorted(k for k in vars(main) if not k.startswith('__')),
    '__mp_main__' in sys.modules,
    sys.path, sys.argv, sys.executable, os.getcwd(), sorted(os.environ.items()),
    warnings.filters, gc.isenabled(), gc.get_freeze_count(), gc.garbage, sys.gettrace(),
    sys.getrecursionlimit(), sys.flags, sys.stdout.name, sys.exc_info(),
    threading.excepthook is threading.__excepthook__])
def others(): return sorted(sys.modules)
def seen(): return __import__('os').environ.get('COPPICE_TEST_WARM', '')
def path(): return sys.path
def seed():
  import random
  return random.random()
)";

class WarmGuest : public SubintBackend {
 protected:
  void SetUp() override {
    SubintBackend::SetUp();
    write("portrait", self_portrait);
    sys_path_ = folders();
  }
  void TearDown() override {
    if (backend_) backend_->clear_stock();
    if (backend_) backend_->shut_down();
    for (auto& old : gone_) EXPECT_TRUE(old.observer->wait_ended());
    gone_.clear();
    SubintBackend::TearDown();
    ::unsetenv("COPPICE_TEST_WARM");
  }

  void write(const std::string& module, const std::string& source) {
    std::ofstream(folder_ / (module + ".py")) << source;
  }
  spawn::stock_order order(unsigned size, std::vector<std::string> preload = {}) {
    spawn::stock_order o;
    o.pool.size = size;
    o.pool.preload = std::move(preload);
    o.pool.refill = refill_when::never;
    o.pool.fill_within = 20s;
    o.pool.report = [this](std::string_view text) {
      std::lock_guard lock(mutex_);
      reports_.emplace_back(text);
    };
    o.sys_path = folders();
    return o;
  }
  // Of a root that is a Python program: its folder, then the standard library.
  std::vector<std::string> folders() {
    std::vector<std::string> all = {folder_.string()};
    for (const char* part : {"", "/lib-dynload"}) all.push_back(library() + part);
    return all;
  }
  static std::string library() {
    const PyGILState_STATE held = PyGILState_Ensure();
    const std::string found = PyUnicode_AsUTF8(PySys_GetObject("_stdlib_dir"));
    PyGILState_Release(held);
    return found;
  }
  std::string stock() {
    base::tree_writer w;
    backend_->describe_stock(w);
    return w.text();
  }
  std::string in_stock() {
    const std::string text = stock();
    return text.substr(0, text.find(" in stock"));
  }
  bool becomes(const std::string& wanted) {
    return testkit::eventually([&] { return stock().starts_with(wanted); }, 20s);
  }
  std::vector<std::string> reports() {
    std::lock_guard lock(mutex_);
    return reports_;
  }
  // One call in a new actor of this module, which is ended afterwards.
  std::string ask(const std::string& module, const std::string& func) {
    EXPECT_EQ(start(module), "None");
    say("asked", module, func);
    const std::string answer = parent_->outcome("asked");
    end();
    forget();
    return answer;
  }
  // The next child is another one.
  void forget() {
    gone_.push_back({std::move(child_), observer_});
    parent_ = std::make_shared<waiting_parent>();
    observer_ = std::make_shared<waiting_observer>();
  }

  struct earlier {
    std::unique_ptr<spawn::child> child;
    std::shared_ptr<waiting_observer> observer;
  };
  std::vector<earlier> gone_;
  std::mutex mutex_;
  std::vector<std::string> reports_;
};

TEST_F(WarmGuest, IsTakenByTheNextActorAndServesAsAColdOneDoes) {
  backend_->stock_up(order(1, {"stuckable"}));
  EXPECT_EQ(in_stock(), "warm guests: 1");
  EXPECT_EQ(start(), "None");
  EXPECT_EQ(in_stock(), "warm guests: 0") << "taken";
  EXPECT_EQ(call("uid"), "['worker', 'worker-uuid']");
  EXPECT_EQ(call("double"), "TypeError: double() missing 1 required positional argument: 'x'");
  end();
  EXPECT_EQ(observer_->report().how, exit_report::cause::returned);
  EXPECT_EQ(live_interpreters().load(), 0u);
}

TEST_F(WarmGuest, CannotTellThatItIsOne) {
  const std::string cold = ask("portrait", "portrait");
  backend_->stock_up(order(1, {"json"}));
  EXPECT_EQ(ask("portrait", "portrait"), cold);
  EXPECT_EQ(in_stock(), "warm guests: 0");
}

TEST_F(WarmGuest, HasTheModulesOfThePreloadBesidesThoseOfAColdOneAndNoOthers) {
  write("imports_it", std::string("import json, sqlite3\n") + self_portrait);
  const std::string cold = ask("imports_it", "others");
  backend_->stock_up(order(1, {"json", "sqlite3"}));
  EXPECT_EQ(ask("imports_it", "others"), cold);
  EXPECT_EQ(in_stock(), "warm guests: 0");
}

TEST_F(WarmGuest, SeesTheEnvironmentOfItsActorsStart) {
  backend_->stock_up(order(1));
  ::setenv("COPPICE_TEST_WARM", "set when it was there already", 1);
  EXPECT_EQ(ask("portrait", "seen"), "'set when it was there already'");
}

TEST_F(WarmGuest, KeepsWhatPreloadedModulesPutOnSysPath) {
  write("vendor", "import sys\nsys.path.insert(0, '/in/front')\nsys.path.append('/behind')");
  write("with_vendor", std::string("import vendor\n") + self_portrait);
  const std::string cold = ask("with_vendor", "path");
  backend_->stock_up(order(1, {"vendor"}));
  EXPECT_EQ(ask("with_vendor", "path"), cold);
  EXPECT_NE(cold.find("'/in/front'"), std::string::npos) << cold;
  EXPECT_EQ(in_stock(), "warm guests: 0");
}

TEST_F(WarmGuest, FindsAModuleThatWasWrittenAfterItWasMade) {
  backend_->stock_up(order(1, {"portrait"}));
  write("latecomer", "def f(): return 'found'");
  EXPECT_EQ(ask("latecomer", "f"), "'found'");
}

TEST_F(WarmGuest, EachHasRandomNumbersOfItsOwn) {
  backend_->stock_up(order(2, {"random"}));
  const std::string first = ask("portrait", "seed");
  EXPECT_NE(ask("portrait", "seed"), first);
  EXPECT_EQ(in_stock(), "warm guests: 0");
}

TEST_F(WarmGuest, CountsAsAGuestAndIsShownAsWarm) {
  backend_->stock_up(order(2));
  EXPECT_EQ(shared_->counts().live, 2u);
  EXPECT_EQ(live_interpreters().load(), 2u) << "this is what forbids os.fork";
  const auto now = testkit::possessions::now();
  std::size_t named = 0;
  for (const auto& thread : now.threads) named += thread.ends_with(" guest/warm");
  EXPECT_EQ(named, 2u);
  EXPECT_EQ(stock(), "warm guests: 2 in stock, 0 being made or ended, of 2\n");
}

TEST_F(WarmGuest, StartsBeyondTheStockGoColdAtOnce) {
  backend_->stock_up(order(1));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(start(), "None");
    EXPECT_EQ(call("uid"), "['worker', 'worker-uuid']");
    if (i < 2) forget();
  }
  EXPECT_EQ(shared_->counts().started, 3u);
  for (auto& old : gone_) old.child->interrupt();
  end();
}

TEST_F(WarmGuest, OneWithASharedGilIsNotOfThem) {
  backend_->stock_up(order(1));
  EXPECT_EQ(start("stuckable", gil_mode::shared), "None");
  EXPECT_EQ(in_stock(), "warm guests: 1");
  end();
}

TEST_F(WarmGuest, TheStockIsFilledAgainInTheBackground) {
  auto o = order(2);
  o.pool.refill = refill_when::background;
  backend_->stock_up(o);
  EXPECT_EQ(start(), "None");
  EXPECT_TRUE(becomes("warm guests: 2 in stock")) << stock();
  end();
}

TEST_F(WarmGuest, TheStockIsFilledAgainOnDemandOnceAStartFoundNone) {
  auto o = order(1);
  o.pool.refill = refill_when::on_demand;
  backend_->stock_up(o);
  EXPECT_EQ(start(), "None");
  end();
  forget();
  EXPECT_EQ(in_stock(), "warm guests: 0");
  EXPECT_EQ(start(), "None");
  EXPECT_TRUE(becomes("warm guests: 1 in stock")) << stock();
  end();
}

TEST_F(WarmGuest, StoppedAsSoonAsItWasTakenLeavesNothing) {
  backend_->stock_up(order(2, {"stuckable"}));
  child_ = backend_->start(spec(), observer_);
  EXPECT_TRUE(child_->interrupt());
  EXPECT_TRUE(observer_->wait_ended());
  forget();
  child_ = backend_->start(spec(), observer_);
  EXPECT_TRUE(child_->force());
  EXPECT_TRUE(observer_->wait_ended());
}

TEST_F(WarmGuest, AnActorThatIsStuckInItClimbsItsLadderAsAnyOther) {
  backend_->stock_up(order(2, {"stuckable"}));
  EXPECT_EQ(start(), "None");
  get_stuck("loop");
  EXPECT_TRUE(child_->interrupt());
  EXPECT_TRUE(observer_->wait_ended());
  forget();
  EXPECT_EQ(start(), "None");
  get_stuck("lock");
  EXPECT_TRUE(child_->interrupt());
  EXPECT_TRUE(observer_->wait_deaf());
  EXPECT_TRUE(child_->force());
  EXPECT_TRUE(observer_->wait_ended());
  EXPECT_EQ(in_stock(), "warm guests: 0");
}

TEST_F(WarmGuest, AModuleThatRaisesIsReportedOnceByNameAndActorsStartCold) {
  write("broken", "raise OSError('disk on fire')");
  backend_->stock_up(order(3, {"json", "broken"}));
  ASSERT_TRUE(testkit::eventually([&] { return !reports().empty(); }));
  EXPECT_EQ(start(), "None");
  EXPECT_EQ(call("uid"), "['worker', 'worker-uuid']");
  end();
  EXPECT_TRUE(becomes("warm guests: 0 in stock, 0 being made or ended, of 3; given up")) << stock();
  ASSERT_EQ(reports().size(), 1u);
  EXPECT_EQ(reports()[0],
            "coppice: no warm guests are kept, actors start cold: the module 'broken' of the "
            "preload list does not import: OSError: disk on fire; take it out of the list, or make "
            "it importable");
}

TEST_F(WarmGuest, AModuleThatIsStuckHoldsUpNeitherTheOpeningNorAStartNorTheEnd) {
  write("sleepy", "import time\nwhile True: time.sleep(1000)");
  auto o = order(1, {"sleepy"});
  o.pool.fill_within = 50ms;
  backend_->stock_up(o);
  EXPECT_EQ(stock(), "warm guests: 0 in stock, 1 being made or ended, of 1\n");
  EXPECT_EQ(start(), "None");
  end();
  backend_->clear_stock();
  backend_->shut_down();
  EXPECT_EQ(live_interpreters().load(), 0u);
  EXPECT_TRUE(backend_->quarantined_stock().empty());
  EXPECT_TRUE(reports().empty()) << "it was ended, and has not failed";
}

TEST_F(WarmGuest, AModuleThatIsNotImportedInTimeIsReportedAndEnded) {
  write("locked", "import threading\nl = threading.Lock()\nl.acquire()\nl.acquire()");
  auto o = order(2, {"locked"});
  o.pool.preload_within = 200ms;
  backend_->stock_up(o);
  EXPECT_TRUE(becomes("warm guests: 0 in stock, 0 being made or ended, of 2; given up")) << stock();
  ASSERT_EQ(reports().size(), 1u);
  EXPECT_NE(reports()[0].find("'locked' of the preload list was not imported within 0.2 s"),
            std::string::npos)
      << reports()[0];
  EXPECT_EQ(live_interpreters().load(), 0u) << "a plain lock: only force ends that";
}

TEST_F(WarmGuest, OneThatIsStuckInNativeCodeIsInQuarantineUntilItComesBack) {
  write("native", "sum(range(15 * 10**7))");
  auto o = order(1, {"native"});
  o.pool.fill_within = 10ms;
  backend_->stock_up(o);
  ASSERT_TRUE(testkit::eventually([&] { return live_interpreters().load() == 1; }));
  backend_->clear_stock();
  backend_->shut_down();
  if (live_interpreters().load() == 0) return;  // A fast machine: it came back within the ladder.
  const auto left = backend_->quarantined_stock();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0], "a guest in stock, stuck in the import of 'native'");
  EXPECT_EQ(shared_->counts().quarantined, 1u);
  EXPECT_TRUE(testkit::eventually([&] { return backend_->quarantined_stock().empty(); }, 60s));
  EXPECT_EQ(shared_->counts().reclaimed, 1u);
}

TEST_F(WarmGuest, AnExitHookThatDoesNotEndHoldsNobodyUp) {
  write("hook", "import atexit, time\natexit.register(lambda: time.sleep(1000))");
  backend_->stock_up(order(3, {"hook"}));
  EXPECT_EQ(in_stock(), "warm guests: 3");
  backend_->clear_stock();
  backend_->shut_down();
  EXPECT_EQ(live_interpreters().load(), 0u);
}

// --- the stock itself, whose guests can be had by their insides
// -----------------------------------

class WarmStock : public PyHostTest {
 protected:
  void SetUp() override {
    PyHostTest::SetUp();
    shared_ = std::move(host);
  }
  void TearDown() override {
    shared_.reset();
    PyHostTest::TearDown();
  }
  spawn::stock_plan plan(unsigned size) {
    spawn::stock_plan p;
    p.pool.size = size;
    p.pool.fill_within = 20s;
    p.warm = [this](std::atomic<std::size_t>&) {
      PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
      PyObject* capsule = PyDict_GetItemString(dict, guest_key);
      auto* core = static_cast<guest_core*>(PyCapsule_GetPointer(capsule, guest_key));
      std::lock_guard lock(mutex_);
      made_.push_back(core->weak_from_this());
      return std::string();
    };
    return p;
  }
  std::vector<std::weak_ptr<guest_core>> made() {
    std::lock_guard lock(mutex_);
    return made_;
  }

  std::shared_ptr<guest_host> shared_;
  std::mutex mutex_;
  std::vector<std::weak_ptr<guest_core>> made_;
};

TEST_F(WarmStock, AGuestThatEndsInStockIsReplacedAfterAPauseThatDoubles) {
  spawn::warm_stock stock(shared_, {.pause = 1ms, .pause_max = 4ms});
  stock.open(plan(1));
  for (std::size_t n = 1; n < 5; ++n) {
    ASSERT_TRUE(testkit::eventually([&] { return made().size() == n && stock.parked() == 1; }));
    if (const auto core = made().back().lock()) core->request_interrupt(any_call);
  }
  EXPECT_TRUE(testkit::eventually([&] { return stock.parked() == 1; }));
  stock.close();
}

TEST_F(WarmStock, WhatDiesAgainAndAgainIsNotMadeInAHotLoop) {
  spawn::warm_stock stock(shared_, {.pause = 1h});
  stock.open(plan(1));
  ASSERT_TRUE(testkit::eventually([&] { return stock.parked() == 1; }));
  if (const auto core = made().back().lock()) core->request_interrupt(any_call);
  EXPECT_TRUE(testkit::eventually([&] { return shared_->counts().live == 0; }));
  // The stock hears of it a moment later.
  EXPECT_TRUE(testkit::eventually([&] { return stock.parked() == 0; }));
  EXPECT_EQ(made().size(), 1u);
  stock.close();
}

TEST_F(WarmStock, NothingIsMadeWhileAnActorStartsCold) {
  spawn::warm_stock stock(shared_, {.quiet = 0ms, .quiet_max = 1h, .pause = 0ms});
  stock.open(plan(1));
  auto starting = stock.cold_start();
  if (const auto core = made().back().lock()) core->request_interrupt(any_call);
  EXPECT_TRUE(testkit::eventually([&] { return shared_->counts().live == 0; }));
  // The stock hears of it a moment later.
  EXPECT_TRUE(testkit::eventually([&] { return stock.parked() == 0; }));
  EXPECT_EQ(made().size(), 1u);
  starting.reset();
  EXPECT_TRUE(testkit::eventually([&] { return stock.parked() == 1; }));
  EXPECT_EQ(made().size(), 2u);
  stock.close();
}

TEST_F(WarmStock, GuestsAreMadeSoManyAtOnceAndNoMore) {
  spawn::warm_stock stock(shared_);
  std::atomic<int> now{0}, most{0};
  auto p = plan(6);
  p.pool.at_once_max = 2;
  p.warm = [&](std::atomic<std::size_t>&) {
    const int mine = ++now;
    for (int seen = most; seen < mine && !most.compare_exchange_weak(seen, mine);) {
    }
    PyGC_Collect();
    --now;
    return std::string();
  };
  stock.open(std::move(p));
  EXPECT_EQ(stock.parked(), 6u);
  EXPECT_LE(most, 2);
  stock.close();
  EXPECT_EQ(live_interpreters().load(), 0u);
}

TEST_F(WarmStock, WithNothingInItCostsNoThread) {
  const auto before = testkit::possessions::now();
  spawn::warm_stock stock(shared_);
  std::unique_ptr<guest_body> body;
  EXPECT_EQ(stock.try_take("nobody", body, std::make_shared<testkit::recorder>()), nullptr);
  EXPECT_EQ(testkit::possessions::now().threads.size(), before.threads.size());
  stock.close();
}

}  // namespace
}  // namespace coppice::py::subint_tests
