// SPDX-License-Identifier: Apache-2.0
// A callable that is moved, never copied, and small ones cost no allocation.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "base/assert.hpp"

namespace coppice::base {

template <class Signature>
class unique_function;

/// Owns one callable. Callables of up to `inline_bytes` that move without throwing are kept inside.
///
/// # Why not std::function?
/// It demands copyable callables, so it cannot hold a promise, a unique_ptr or another of itself.
///
/// Owner: one object. Thread: any, one at a time.
template <class R, class... Args>
class unique_function<R(Args...)> {
 public:
  static constexpr std::size_t inline_bytes = 48;

  unique_function() = default;
  unique_function(std::nullptr_t) noexcept {}  // NOLINT: like std::function

  template <class F, class D = std::decay_t<F>>
    requires(!std::is_same_v<D, unique_function> && std::is_invocable_r_v<R, D&, Args...>)
  unique_function(F&& f) {  // NOLINT: a lambda is what callers write
    if constexpr (fits<D>) {
      ::new (static_cast<void*>(buffer_)) D(std::forward<F>(f));
      table_ = &inline_table<D>;
    } else {
      ::new (static_cast<void*>(buffer_))
          std::unique_ptr<D>(std::make_unique<D>(std::forward<F>(f)));
      table_ = &heap_table<D>;
    }
  }

  unique_function(unique_function&& other) noexcept { take(other); }
  unique_function& operator=(unique_function&& other) noexcept {
    if (this != &other) {
      reset();
      take(other);
    }
    return *this;
  }
  ~unique_function() { reset(); }

  explicit operator bool() const noexcept { return table_ != nullptr; }

  R operator()(Args... args) {
    COPPICE_ASSERT(table_ != nullptr, "an empty unique_function was called");
    return table_->call(buffer_, std::forward<Args>(args)...);
  }

 private:
  struct table {
    R (*call)(void* self, Args&&... args);
    void (*move)(void* to, void* from) noexcept;  // Ends `from`.
    void (*end)(void* self) noexcept;
  };

  template <class D>
  static constexpr bool fits = sizeof(D) <= inline_bytes && alignof(D) <= alignof(void*) &&
                               std::is_nothrow_move_constructible_v<D>;

  template <class T>
  static T& as(void* p) noexcept {
    return *std::launder(static_cast<T*>(p));
  }
  template <class T>
  static void move_to(void* to, void* from) noexcept {
    ::new (to) T(std::move(as<T>(from)));
    as<T>(from).~T();
  }
  template <class T>
  static void end_of(void* self) noexcept {
    as<T>(self).~T();
  }

  template <class D>
  static constexpr table inline_table{
      [](void* self, Args&&... args) -> R { return as<D>(self)(std::forward<Args>(args)...); },
      &move_to<D>, &end_of<D>};
  template <class D>
  static constexpr table heap_table{
      [](void* self, Args&&... args) -> R {
        return (*as<std::unique_ptr<D>>(self))(std::forward<Args>(args)...);
      },
      &move_to<std::unique_ptr<D>>, &end_of<std::unique_ptr<D>>};

  void take(unique_function& other) noexcept {
    if (other.table_ == nullptr) return;
    other.table_->move(buffer_, other.buffer_);
    table_ = std::exchange(other.table_, nullptr);
  }
  void reset() noexcept {
    if (const table* t = std::exchange(table_, nullptr)) t->end(buffer_);
  }

  alignas(void*) std::byte buffer_[inline_bytes];
  const table* table_ = nullptr;
};

}  // namespace coppice::base
