// SPDX-License-Identifier: Apache-2.0
// Misuse that must not compile: one per case, each with the sentence that the user has to see.
// Compiled case by case by ctest, see CMakeLists.txt.
// tidy: allow dead-file: CMakeLists.txt compiles it case by case, by its full path
#include <coroutine>
#include <memory>
#include <string>

#include "coppice/broadcast_channel.hpp"
#include "coppice/channel.hpp"
#include "coppice/errors.hpp"
#include "coppice/from_thread.hpp"
#include "coppice/handle_errors.hpp"
#include "coppice/nursery.hpp"
#include "coppice/outcome.hpp"
#include "coppice/time.hpp"
#include "coppice/to_thread.hpp"

using namespace coppice;
using namespace std::chrono_literals;

struct owning {
  std::string text;
  int n = 0;
};
task<int> f(std::string s) { co_return static_cast<int>(s.size()); }
task<> changes(int& x) {
  ++x;
  co_return;
}
int plain(int x) { return x; }
int adds(int& x, const owning& o) { return x += o.n; }

task<> guard(std::string s) {
  [[maybe_unused]] int x = 0;
  [[maybe_unused]] channel<owning> c(1);
#if defined(CASE_right)
  co_await open_nursery([&](nursery& n) -> task<> {
    n.start_soon(changes, std::ref(x));
    n.start_soon([](std::string t) -> task<> { co_await f(t); }, s);
    co_await checkpoint();
  });
  owning named{.text = s, .n = 1};
  co_await c.send(named);
  auto body = [s](cancel_scope&) -> task<> { co_await checkpoint(); };
  co_await move_on_after(1s, body);
#elif defined(CASE_named_task)
  auto t = f(s);
  co_await std::move(t);
#elif defined(CASE_forgotten_await)
  f(s);
#elif defined(CASE_owning_body)
  co_await open_nursery([s](nursery&) -> task<> { co_await checkpoint(); });
#elif defined(CASE_owning_limit_body)
  co_await move_on_after(1s, [s](cancel_scope&) -> task<> { co_await checkpoint(); });
#elif defined(CASE_owning_started_lambda)
  co_await open_nursery(
      [&](nursery& n) { n.start_soon([s]() -> task<> { co_await checkpoint(); }); });
#elif defined(CASE_reference_without_ref)
  co_await open_nursery([&](nursery& n) { n.start_soon(changes, x); });
#elif defined(CASE_start_without_status)
  co_await open_nursery([&](nursery& n) -> task<> { co_await n.start(changes, std::ref(x)); });
#elif defined(CASE_wrong_number)
  co_await open_nursery([&](nursery& n) { n.start_soon(changes); });
#elif defined(CASE_not_a_task)
  co_await open_nursery([&](nursery& n) { n.start_soon(plain, 1); });
#elif defined(CASE_foreign_await)
  co_await std::suspend_always{};
#elif defined(CASE_handler_for_cancelled)
  handle_errors([](const cancelled&) {});
#elif defined(CASE_handler_for_group)
  handle_errors([](const error_group&) {});
#elif defined(CASE_owning_aggregate_sent)
  co_await c.send(owning{.text = s, .n = 1});
#elif defined(CASE_limit_without_await)
  co_await move_on_after(1s, [](cancel_scope&) {});
#elif defined(CASE_task_of_a_reference)
  co_await [](int& y) -> task<int&> { co_return y; }(x);
#elif defined(CASE_broadcast_of_what_cannot_be_copied)
  broadcast_channel<std::unique_ptr<int>> b(1);
#elif defined(CASE_error_that_does_not_travel)
  remote_actor_error(remote_error_info{}).is<std::string>();
#else
#define COPPICE_CASE_IS_BELOW
#endif
  co_return;
}

task<> thread_guard(std::string s) {
  [[maybe_unused]] int x = 0;
#if defined(CASE_right)
  owning named{.text = s, .n = 1};
  co_await to_thread<on_cancel::wait>(adds, std::ref(x), named);
  co_await to_thread<on_cancel::wait>([&] { x = plain(x); });
  auto owns = [s] { return s.size(); };
  co_await to_thread<on_cancel::wait>(owns);
  co_await to_thread<on_cancel::abandon>({.name = "copy"}, [](std::string t) { return t; }, s);
  co_await to_thread<on_cancel::abandon>([](std::string_view t) { return t.size(); }, "text");
#elif defined(CASE_thread_without_policy)
  co_await to_thread(plain, 1);
#elif defined(CASE_thread_abandons_ref)
  co_await to_thread<on_cancel::abandon>([](int& i) { ++i; }, std::ref(x));
#elif defined(CASE_thread_abandons_pointer)
  co_await to_thread<on_cancel::abandon>([](int* i) { ++*i; }, &x);
#elif defined(CASE_thread_abandons_view)
  co_await to_thread<on_cancel::abandon>([](auto t) { return t.size(); }, std::string_view(s));
#elif defined(CASE_thread_abandons_capture)
  co_await to_thread<on_cancel::abandon>([&] { ++x; });
#elif defined(CASE_thread_reference_without_ref)
  co_await to_thread<on_cancel::wait>([](int& i) { ++i; }, x);
#elif defined(CASE_thread_owning_lambda)
  co_await to_thread<on_cancel::wait>([s] { return s.size(); });
#elif defined(CASE_thread_owning_aggregate)
  co_await to_thread<on_cancel::wait>([](owning o) { return o.n; }, owning{.text = s, .n = 1});
#elif defined(CASE_thread_task)
  co_await to_thread<on_cancel::wait>(f, s);
#elif defined(CASE_thread_wrong_number)
  co_await to_thread<on_cancel::wait>(plain);
#elif defined(CASE_run_sync_task)
  from_thread::run_sync(f, s);
#elif defined(CASE_run_plain)
  from_thread::run(plain, 1);
#elif defined(COPPICE_CASE_IS_BELOW)
#error "no such case"
#endif
  co_return;
}
