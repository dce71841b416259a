// SPDX-License-Identifier: Apache-2.0
// The work of to_thread(): function, arguments and result, and what must not be given to it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "coppice/detail/block.hpp"
#include "coppice/detail/start_args.hpp"
#include "coppice/task.hpp"

namespace coppice {

/// What a cancellation does to work of to_thread() that has begun.
enum class on_cancel : std::uint8_t {
  wait,     // The call waits for the work's end.
  abandon,  // The call ends at once; the work goes on in quarantine.
};

namespace detail {

/// What a thread is to call. Owner: the call of to_thread(), or the thread once that has begun.
class thread_work {
 public:
  thread_work() = default;
  thread_work(const thread_work&) = delete;
  thread_work& operator=(const thread_work&) = delete;
  virtual ~thread_work() = default;
  virtual void call() noexcept = 0;  // Once. Keeps the result, also if that is an exception.

  /// "pack", or the function's own name. May look for a symbol, which takes its time.
  std::string label() const;

  std::string name;  // Empty: it has none.
  on_cancel policy = on_cancel::wait;
  capacity_limiter* limiter = nullptr;   // Null: the loop's.
  const std::type_info* type = nullptr;  // Of the function,
  const void* address = nullptr;         // which may be a plain one.
};

template <class T>
class thread_work_for : public thread_work {
 public:
  settled<T> how;
};

template <class T, class Call>
class bound_thread_work final : public thread_work_for<T> {
 public:
  template <class... A>
  explicit bound_thread_work(A&&... args) : call_(std::forward<A>(args)...) {}
  void call() noexcept override { call_plain<T>(this->how, call_); }

 private:
  Call call_;
};

/// Runs it on a thread and gives it back when it has been called. Throws `cancelled` if that is
/// not to be, or is not waited for.
task<std::unique_ptr<thread_work>> run_on_thread(std::unique_ptr<thread_work> work);

template <class T>
task<T> thread_block(std::unique_ptr<thread_work_for<T>> work) {
  thread_work_for<T>& same = *work;
  std::unique_ptr<thread_work> called = co_await run_on_thread(std::move(work));
  co_return same.how.take();
}

template <class T>
struct is_span : std::false_type {};
template <class T, std::size_t n>
struct is_span<std::span<T, n>> : std::true_type {};

/// Does it only say where something is?
template <class T>
inline constexpr bool refers =
    std::is_pointer_v<T> || is_ref_wrapper<T>::value || is_span<T>::value ||
    std::is_same_v<T, std::string_view> || std::is_lvalue_reference_v<T>;

/// A temporary that g++ 12 destroys twice in a co_await expression.
template <class A>
inline constexpr bool ends_twice =
    temporaries_end_twice && !std::is_lvalue_reference_v<A> && std::is_aggregate_v<A> &&
    !std::is_array_v<A> && !std::is_trivially_destructible_v<A>;

template <on_cancel policy, class Fn, class... Kept>
constexpr void check_owns() {
  if constexpr (policy == on_cancel::abandon) {
    static_assert(std::is_empty_v<Fn> || std::is_pointer_v<Fn> || std::is_member_pointer_v<Fn>,
                  "abandoned work outlives its call, so its function may not refer to anything: "
                  "use a function, or a lambda without captures, and pass values as arguments");
    static_assert(!(refers<typename Kept::stored> || ...),
                  "abandoned work outlives its call, so it has to own its arguments: pass values, "
                  "a std::unique_ptr or a std::shared_ptr instead of std::ref, pointers and views");
  }
}

template <class Fn, class Params, class Given>
struct thread_call_types;
template <class Fn, class... P, class... A>
struct thread_call_types<Fn, type_list<P...>, type_list<A...>> {
  using call = bound_call<false, Fn, kept<P, A>...>;
  template <on_cancel policy>
  static constexpr void check() {
    check_owns<policy, Fn, kept<P, A>...>();
  }
};
template <class Fn, class... A>
struct thread_call_types<Fn, void, type_list<A...>> {
  using call = bound_call<false, Fn, kept_decayed<A>...>;
  template <on_cancel policy>
  static constexpr void check() {
    check_owns<policy, Fn, kept_decayed<A>...>();
  }
};

template <class Fn, class... A>
constexpr auto thread_types() {
  if constexpr (signature<Fn>::known) {
    static_assert(signature<Fn>::params::size == sizeof...(A),
                  "the function takes another number of arguments than to_thread() is given");
    return thread_call_types<Fn, typename signature<Fn>::params, type_list<A...>>{};
  } else {
    return thread_call_types<Fn, void, type_list<A...>>{};
  }
}

template <on_cancel policy, class Fn, class... A>
auto make_thread_work(capacity_limiter* limiter, std::string_view name, Fn&& fn, A&&... args) {
  using F = std::decay_t<Fn>;
  using types = decltype(thread_types<F, A...>());
  check_body<Fn>();
  types::template check<policy>();
  static_assert(!(ends_twice<A> || ...),
                "g++ 12 destroys a temporary of this type twice: give the value a name on the line "
                "before and pass that");
  using R = std::decay_t<decltype(std::declval<typename types::call&>()())>;
  static_assert(!is_task<R>::value,
                "to_thread() is for functions that block; co_await a task here, or give it to "
                "from_thread::run() on the thread");
  std::unique_ptr<thread_work_for<R>> work =
      std::make_unique<bound_thread_work<R, typename types::call>>(std::forward<Fn>(fn),
                                                                   std::forward<A>(args)...);
  work->name = name;
  work->policy = policy;
  work->limiter = limiter;
  work->type = &typeid(F);
  if constexpr (std::is_pointer_v<F>) work->address = reinterpret_cast<const void*>(F(fn));
  return work;
}

}  // namespace detail
}  // namespace coppice
