// SPDX-License-Identifier: Apache-2.0
#include "coppice/errors.hpp"  // First: proves the header stands alone.

#include <gtest/gtest.h>

#include <concepts>
#include <csignal>

#include "coppice/faults.hpp"
#include "coppice/handle_errors.hpp"
#include "coppice/outcome.hpp"
#include "coppice/testkit/async_test.hpp"

namespace coppice {
namespace {

using namespace std::chrono_literals;

std::exception_ptr make(auto e) { return std::make_exception_ptr(std::move(e)); }

TEST(Errors, DescribeExceptionIsOneLineForAnything) {
  EXPECT_EQ(describe_exception(make(std::runtime_error("boom"))), "std::runtime_error: boom");
  EXPECT_EQ(describe_exception(make(timeout_error("late"))), "coppice::timeout_error: late");
  EXPECT_EQ(describe_exception(
                make(cancelled(std::make_shared<const cancel_cause>(cancel_cause{"a: b"})))),
            "cancelled: a: b");
  EXPECT_EQ(describe_exception(make(3)), "an exception of type int");
  remote_error_info info;
  info.source_type = "ValueError";
  info.message = "boom";
  EXPECT_EQ(describe_exception(make(remote_actor_error(info))), "ValueError: boom");
}

TEST(Errors, ToRemoteUsesTheWireNamesAndTheRaisingActor) {
  const uid self{"calc", "u1"};
  const auto info = to_remote(make(std::invalid_argument("empty")), self);
  EXPECT_EQ(info.type, "ValueError");
  EXPECT_EQ(info.source_type, "ValueError");
  EXPECT_EQ(info.message, "empty");
  EXPECT_EQ(info.source, self);
  EXPECT_EQ(info.path, std::vector<uid>{self});
  EXPECT_EQ(to_remote(make(timeout_error("x")), self).type, "TimeoutError");
  EXPECT_EQ(to_remote(make(std::overflow_error("x")), self).type, "OverflowError");
  EXPECT_EQ(to_remote(make(actor_died("a", {})), self).type, "ActorDied");
  EXPECT_EQ(to_remote(make(protocol_error("x")), self).type, "coppice::protocol_error");
  EXPECT_EQ(to_remote(make(3), self).type, "int");
}

TEST(Errors, RelayingKeepsTheSourceAndAddsTheHop) {
  const uid source{"child", "u1"};
  const uid relay{"parent", "u2"};
  const remote_actor_error first(to_remote(make(std::out_of_range("i")), source));
  const auto info = to_remote(make(first), relay);
  EXPECT_EQ(info.type, "RemoteActorError");
  EXPECT_EQ(info.source_type, "IndexError");
  EXPECT_EQ(info.source, source);
  EXPECT_EQ(info.path, (std::vector<uid>{source, relay}));
  const remote_actor_error second(info);
  EXPECT_EQ(second.path(), (std::vector<std::string>{"child", "parent"}));
  EXPECT_TRUE(second.is<std::out_of_range>());
  EXPECT_FALSE(second.is<std::invalid_argument>());
}

TEST(Errors, EveryMemberOfAGroupTravels) {
  const error_group g("n", {make(std::invalid_argument("a")), make(timeout_error("b"))});
  const auto info = to_remote(make(g), {"x", "u"});
  EXPECT_EQ(info.type, "ExceptionGroup");
  ASSERT_EQ(info.members.size(), 2u);
  EXPECT_EQ(info.members[0].type, "ValueError");
  EXPECT_EQ(info.members[1].type, "TimeoutError");
}

TEST(Errors, ExitReportsSayHow) {
  exit_report killed;
  killed.how = exit_report::cause::signalled;
  killed.status = SIGKILL;
  EXPECT_EQ(killed.text(), "killed by SIGKILL");
  exit_report exited;
  exited.how = exit_report::cause::exited;
  exited.status = 3;
  EXPECT_EQ(exited.text(), "exited with status 3");
  exit_report forced;
  forced.rung = rung::forced;
  forced.took = 12ms;
  EXPECT_EQ(forced.text(), "returned, stopped by rung forced in 12ms");
  EXPECT_STREQ(actor_died("feed", killed).what(), "actor 'feed' has ended: killed by SIGKILL");
}

// --- as_result

task<int> parse(std::string s) {
  co_await checkpoint();
  if (s.empty()) throw std::invalid_argument("empty input");
  co_return static_cast<int>(s.size());
}

COPPICE_TEST(AsResult, HoldsTheValueOrTheErrorByType) {
  auto good = co_await as_result(parse("four"));
  EXPECT_TRUE(good);
  EXPECT_EQ(*good, 4);
  EXPECT_EQ(good.error<std::exception>(), nullptr);
  auto bad = co_await as_result(parse(""));
  EXPECT_FALSE(bad);
  EXPECT_EQ(bad.error<timeout_error>(), nullptr);
  auto* e = bad.error<std::logic_error>();
  EXPECT_TRUE(e != nullptr);
  if (e != nullptr) {
    EXPECT_STREQ(e->what(), "empty input");
  }
  EXPECT_THROW(bad.value(), std::invalid_argument);
}

COPPICE_TEST(AsResult, LetsCancelledThrough) {
  bool went_on = false;
  auto finished = co_await move_on_after(1s, [&](cancel_scope&) -> task<> {
    auto r = co_await as_result(sleep_forever());
    went_on = true;
    EXPECT_TRUE(r);
  });
  EXPECT_FALSE(finished);
  EXPECT_FALSE(went_on);
}

// --- handle_errors

using log = std::vector<std::string>;

template <class... Handlers>
std::string handle(std::exception_ptr e, Handlers... handlers) {
  try {
    try {
      std::rethrow_exception(e);
    } catch (...) {
      handle_errors(handlers...);
    }
  } catch (...) {
    return describe_exception(std::current_exception());
  }
  return "handled";
}

TEST(HandleErrors, GivesABareErrorToTheFirstHandlerOfItsType) {
  log l;
  EXPECT_EQ(
      handle(
          make(std::invalid_argument("x")), [&](const timeout_error&) { l.push_back("timeout"); },
          [&](const std::logic_error& e) { l.push_back(e.what()); },
          [&](const std::exception&) { l.push_back("late"); }),
      "handled");
  EXPECT_EQ(l, log{"x"});
}

TEST(HandleErrors, TakesGroupsApartAndThrowsTheRestInItsShape) {
  const auto inner =
      make(error_group("inner", {make(timeout_error("t1")), make(std::runtime_error("r1")),
                                 make(std::runtime_error("r2"))}));
  const auto outer =
      make(error_group("outer", {inner, make(timeout_error("t2")), make(std::bad_alloc())}));
  log l;
  EXPECT_EQ(handle(outer, [&](const timeout_error& e) { l.push_back(e.what()); }),
            "coppice::error_group: 2 errors in 'outer': coppice::error_group: 2 errors in 'inner': "
            "std::runtime_error: r1; std::runtime_error: r2; std::bad_alloc: std::bad_alloc");
  EXPECT_EQ(l, (log{"t1", "t2"}));
}

TEST(HandleErrors, OneThatIsLeftComesBare) {
  const auto group =
      make(error_group("g", {make(timeout_error("t")), make(std::runtime_error("r"))}));
  EXPECT_EQ(handle(group, [](const timeout_error&) {}), "std::runtime_error: r");
  EXPECT_EQ(handle(group, [](const std::exception&) {}), "handled");
}

TEST(HandleErrors, WhatHandlersThrowIsNotLostNorTheRest) {
  const auto group =
      make(error_group("g", {make(timeout_error("t")), make(std::runtime_error("r"))}));
  EXPECT_EQ(handle(group, [](const timeout_error&) { throw std::invalid_argument("in handler"); }),
            "coppice::error_group: 2 errors in 'handle_errors': std::invalid_argument: in handler; "
            "std::runtime_error: r");
}

TEST(HandleErrors, LetsCancelledThrough) {
  EXPECT_EQ(handle(make(cancelled(std::make_shared<const cancel_cause>(cancel_cause{"s: r"}))),
                   [](const std::exception&) {}),
            "cancelled: s: r");
}

TEST(HandleErrorsDeath, OutsideOfACatchBlockAborts) {
  EXPECT_DEATH(handle_errors([](const std::exception&) {}), "outside of a catch block");
}

// --- what their types promise

template <class... E>
constexpr bool are_errors_that_copy_without_throwing =
    ((std::derived_from<E, error> && std::is_nothrow_copy_constructible_v<E>) && ...);

TEST(Errors, EveryFaultOfOursIsAnErrorThatCopiesWithoutThrowing) {
  static_assert(
      are_errors_that_copy_without_throwing<
          timeout_error, backend_unavailable, message_type_error, limit_exceeded, protocol_error,
          transport_closed, actor_died, channel_closed, lagged, ownership_error, actor_start_error,
          module_not_exposed, no_such_function, argument_error, call_stuck, remote_actor_error,
          context_cancelled, stream_overrun, error_group>);
  static_assert(std::derived_from<error, std::runtime_error>);
  static_assert(std::derived_from<actor_died, transport_closed>);
}

TEST(Errors, CancelledIsNoStdExceptionAndCopiesWithoutThrowing) {
  static_assert(!std::derived_from<cancelled, std::exception>);
  static_assert(std::is_nothrow_copy_constructible_v<cancelled>);
}

TEST(Errors, ThoseOfActorsHaveTheirReport) {
  exit_report how;
  how.how = exit_report::cause::exited;
  how.status = 3;
  EXPECT_EQ(actor_died("feed", how).report().status, 3);
  EXPECT_EQ(actor_start_error("feed", how).report().status, 3);
}

TEST(Errors, AGroupKeepsTheOrderAndTheNameOfItsNursery) {
  const error_group g("pair", {make(std::runtime_error("a")), make(std::runtime_error("b"))});
  EXPECT_EQ(g.where(), "pair");
  EXPECT_EQ(g.errors().size(), 2u);
  EXPECT_EQ(describe_exception(g.errors()[0]), "std::runtime_error: a");
}

TEST(ErrorsDeath, ACancellationInAGroupAborts) {
  EXPECT_DEATH(
      error_group("g", {make(cancelled(std::make_shared<const cancel_cause>(cancel_cause{"a: b"}))),
                        make(std::runtime_error("x"))}),
      "a cancellation in a group of errors");
}

// --- more of as_result

COPPICE_TEST(AsResult, TakesAnOperationAndSaysNothingOfAnErrorThatIsNotThere) {
  auto r = co_await as_result(sleep_for(1s));
  EXPECT_TRUE(r.has_value());
  EXPECT_EQ(r.exception(), nullptr);
  EXPECT_EQ(t.elapsed(), 1s);
}

COPPICE_TEST(AsResult, ItsValueIsMovedOut) {
  auto make_one = []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(4); };
  auto r = co_await as_result(make_one());
  EXPECT_EQ(**r, 4);
  const std::unique_ptr<int> out = r.value();
  EXPECT_EQ(*out, 4);
}

task<> looks_at_no_value(testkit::test_env&) {
  auto r = co_await as_result(parse(""));
  static_cast<void>(*r);
}
TEST(AsResultDeath, LookingAtAValueThatIsNotThereAborts) {
  EXPECT_DEATH(testkit::run_async_test("no value", &looks_at_no_value),
               "the outcome holds an error: look at error<E>\\(\\) or exception\\(\\) first");
}

}  // namespace
}  // namespace coppice
