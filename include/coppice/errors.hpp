// SPDX-License-Identifier: Apache-2.0
// Everything that can go wrong, as types. Cancellation is none of them.
#pragma once

#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coppice/faults.hpp"
#include "coppice/remote_error.hpp"

namespace coppice {

/// Two or more failures of one nursery, in the order in which they were seen. One alone comes bare.
/// A cancellation is never in one.
class error_group : public error {
 public:
  // REQUIRES: none is `cancelled`.
  error_group(std::string_view where, std::vector<std::exception_ptr> errors);
  std::span<const std::exception_ptr> errors() const noexcept { return *errors_; }
  const std::string& where() const noexcept { return *where_; }  // The nursery's name.

 private:
  std::shared_ptr<const std::string> where_;
  std::shared_ptr<const std::vector<std::exception_ptr>> errors_;
};

/// Why a scope was cancelled, and who asked.
struct cancel_cause {
  std::string text = {};  // "scope: reason".
  /// "task 'reader'"; "task 12", by its id in a task tree, if it has no name; "its deadline"; for a
  /// nursery that a failure cancelled, what failed: "task 'reader'", "a task", "its block"; or "no
  /// task": a posted function, a signal, another actor, another thread.
  std::string canceller = {};
};

/// Thrown at every checkpoint of a cancelled scope. Not a std::exception, so that no
/// `catch (const std::exception&)` eats it: only the scope that caused it absorbs it.
class cancelled final {
 public:
  explicit cancelled(std::shared_ptr<const cancel_cause> cause) noexcept
      : cause_(std::move(cause)) {}
  /// "scope: reason", the outermost cause.
  const std::string& cause() const noexcept { return cause_->text; }
  const std::string& canceller() const noexcept { return cause_->canceller; }

 private:
  std::shared_ptr<const cancel_cause> cause_;
};

/// "ValueError: boom", "coppice::timeout_error: …": one line for any exception, `cancelled` too.
std::string describe_exception(const std::exception_ptr& e);

}  // namespace coppice
