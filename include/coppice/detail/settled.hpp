// SPDX-License-Identifier: Apache-2.0
// How a coroutine ended, kept as a value: with a result, an error or a cancellation.
#pragma once

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace coppice::detail {

/// Is it `cancelled`? Looks at the type only, without rethrowing.
bool is_cancelled(const std::exception_ptr& e) noexcept;

struct nothing {};  // The value of a void.

/// Empty, a value or an exception.
template <class T>
class settled {
 public:
  using stored = std::conditional_t<std::is_void_v<T>, nothing, T>;

  settled() = default;
  settled(settled&&) = default;
  // Asks T for no assignment.
  settled& operator=(settled&& other) noexcept(std::is_nothrow_move_constructible_v<stored>) {
    value_.reset();
    if (other.value_) value_.emplace(std::move(*other.value_));
    error_ = std::move(other.error_);
    return *this;
  }

  template <class... Args>
  void emplace(Args&&... args) {
    value_.emplace(std::forward<Args>(args)...);
  }
  void fail(std::exception_ptr e) noexcept { error_ = std::move(e); }

  const std::exception_ptr& error() const noexcept { return error_; }
  bool has_value() const noexcept { return value_.has_value(); }
  stored& value() noexcept { return *value_; }
  const stored& value() const noexcept { return *value_; }

  /// The value moved out, or the exception thrown. REQUIRES: one of the two is there.
  T take() {
    if (error_) std::rethrow_exception(error_);
    if constexpr (!std::is_void_v<T>) return std::move(*value_);
  }

 private:
  std::optional<stored> value_;
  std::exception_ptr error_;
};

}  // namespace coppice::detail
