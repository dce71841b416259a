// SPDX-License-Identifier: Apache-2.0
// What a program offers to other actors: endpoints with their types erased, found by name.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "coppice/endpoint.hpp"

namespace coppice {

/// One endpoint, whatever its types: `{.endpoints = {primes::count, counter_add}}`. A library
/// offers its own as `inline constexpr exposed all[] = {count, …};`.
///
/// Owner: whoever; it refers to the endpoint, which lives at namespace scope. Thread: any.
class exposed {
 public:
  template <class Signature, class Dialog, class Function>
  constexpr exposed(const endpoint<Signature, Dialog, Function>& e) noexcept  // NOLINT: implicit.
      : name_(e.name()),
        parameters_(e.parameters()),
        kind_(endpoint<Signature, Dialog, Function>::kind),
        endpoint_(&e),
        invoke_(&endpoint<Signature, Dialog, Function>::invoke) {
    static_assert(!std::same_as<Function, detail::declared_only>,
                  "this endpoint only declares a function: name the C++ function that implements "
                  "it, or leave it to the actor that does");
  }
  template <class Signature, class Dialog, class Function>
  exposed(const endpoint<Signature, Dialog, Function>&&) = delete;  // Make it a constexpr variable.

  constexpr function_name name() const noexcept { return name_; }
  constexpr std::span<const std::string_view> parameters() const noexcept { return parameters_; }
  constexpr endpoint_kind kind() const noexcept { return kind_; }

  /// Calls it. Throws argument_error at once if `kwargs`, a map, do not fit: nothing has run then.
  /// The function runs when the task is awaited, which gives its result (nil for a generator), or
  /// throws its exception, or message_type_error if the result is text that is not UTF-8. `self`
  /// outlives the task, and so does `end`, which is null exactly for a call.
  task<payload> invoke(actor& self, payload kwargs, detail::dialog_end* end = nullptr) const {
    return invoke_(endpoint_, self, std::move(kwargs), end);
  }

 private:
  function_name name_;
  std::span<const std::string_view> parameters_;
  endpoint_kind kind_;
  const void* endpoint_;
  task<payload> (*invoke_)(const void* endpoint, actor& self, payload kwargs,
                           detail::dialog_end* end);
};

/// The endpoints of an actor, by name. A module is exposed if one of them is in it.
///
/// Owner: the runtime. Thread: any; it never changes.
class endpoint_table {
 public:
  endpoint_table() = default;
  /// Throws coppice::error if two have the same name.
  explicit endpoint_table(std::span<const exposed> endpoints);

  /// Throws module_not_exposed or no_such_function, and says which module it was and what there is.
  const exposed& find(std::string_view module, std::string_view function) const;
  bool has_module(std::string_view module) const noexcept;

  std::span<const exposed> all() const noexcept { return sorted_; }  // By name.

 private:
  std::vector<exposed> sorted_;
};

}  // namespace coppice
