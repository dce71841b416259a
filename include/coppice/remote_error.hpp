// SPDX-License-Identifier: Apache-2.0
// Errors that other actors raised, and under which names errors cross actors.
#pragma once

#include <array>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "coppice/faults.hpp"
#include "coppice/fwd.hpp"

namespace coppice {

/// An actor's name on the wire: its name, which need not be unique, and its uuid, which is.
struct uid {
  std::string name;
  std::string uuid;
  friend bool operator==(const uid&, const uid&) = default;
};

/// What travels of an error: types by name, so that it can be relayed by actors that lack the type.
struct remote_error_info {
  std::string type;         // Class name as the last actor boxed it: "ValueError".
  std::string source_type;  // Class name where it was first raised.
  std::string message;      // str(exception), or what().
  std::string traceback;    // Formatted text of the last hop; may be empty.
  uid source;               // The actor that raised it.
  std::vector<uid> path;    // Every actor that it passed through, the first one first.
  std::vector<remote_error_info> members;   // Of an exception group; empty otherwise.
  std::optional<uid> canceller = {};        // Of a ContextCancelled: who asked.
  std::optional<uid> sender = {};           // Of a StreamOverrun: whose value did not fit.
  std::optional<bad_message> bad_msg = {};  // Of a MsgTypeError.
};

/// The class name under which E crosses actors. Those below are the standard ones; specialise it
/// for an error of your own, and list that in main_options::errors:
///
///     struct refused : coppice::error { using error::error; };
///     template <>
///     struct coppice::wire_name<refused> { static constexpr std::string_view value = "Refused"; };
template <class E>
struct wire_name;

/// One row of the table of errors that have a name everywhere, its type erased.
struct error_kind {
  std::string_view name;
  bool (*is)(const std::exception&) noexcept;
  std::exception_ptr (*make)(const std::string& message);  // Null: a message is not enough for it.
};

/// The row of E: `main_options{.errors = {error_type<refused>}}`. What an endpoint throws then
/// travels under its name, and unwrap() makes one again. A class goes before its bases.
template <class E>
inline constexpr error_kind error_type{
    wire_name<E>::value,
    [](const std::exception& e) noexcept { return dynamic_cast<const E*>(&e) != nullptr; },
    [] {
      std::exception_ptr (*make)(const std::string&) = nullptr;
      if constexpr (std::is_constructible_v<E, const std::string&>)
        make = [](const std::string& message) { return std::make_exception_ptr(E(message)); };
      return make;
    }()};

/// An error that another actor raised, whole: type, message, traceback, path and group members.
class remote_actor_error : public error {
 public:
  explicit remote_actor_error(remote_error_info info);

  const std::string& type() const noexcept { return info_->type; }
  const std::string& source_type() const noexcept { return info_->source_type; }
  const std::string& message() const noexcept { return info_->message; }
  const std::string& traceback() const noexcept { return info_->traceback; }
  std::vector<std::string> path() const;  // Names, the raising actor first.
  const std::vector<remote_error_info>& members() const noexcept { return info_->members; }
  const remote_error_info& info() const noexcept { return *info_; }

  /// Is it E, by the name under which E travels? Types outside the table do not compile.
  template <class E>
  bool is() const noexcept {
    return info_->source_type == wire_name<E>::value;
  }

  /// The error that was raised first, as the C++ type of its name with its message: one of `yours`,
  /// else a standard one. A group becomes an error_group of its unwrapped members. Itself if the
  /// name has no type here.
  std::exception_ptr unwrap(std::span<const error_kind> yours = {}) const;

 private:
  std::shared_ptr<const remote_error_info> info_;
};

/// What was called in another actor was cancelled there.
class context_cancelled : public remote_actor_error {
 public:
  using remote_actor_error::remote_actor_error;
  /// Who asked: the caller itself, the callee itself, or anybody else. None: nobody said.
  const std::optional<uid>& canceller() const noexcept { return info().canceller; }
};

/// A value was sent into a stream faster than the other side took them, and did not fit.
class stream_overrun : public remote_actor_error {
 public:
  using remote_actor_error::remote_actor_error;
  /// Whose value it was.
  const std::optional<uid>& sender() const noexcept { return info().sender; }
};

/// The exception for what came: a context_cancelled, a stream_overrun, else a remote_actor_error.
std::exception_ptr to_exception(remote_error_info info);

/// The error as it travels, from any exception; `self` is the actor that sends it. `yours` are
/// looked at before the standard ones.
remote_error_info to_remote(const std::exception_ptr& e, const uid& self,
                            std::span<const error_kind> yours = {});

/// The name under which a C++ exception travels; empty if it has none but its own.
std::string_view wire_name_of(const std::exception& e,
                              std::span<const error_kind> yours = {}) noexcept;

/// C++ and Python types that mean the same to both, a class before its bases. The first row with a
/// name is what unwrap() makes of it.
std::span<const error_kind> standard_errors() noexcept;

#define COPPICE_WIRE_NAME(type, name)               \
  template <>                                       \
  struct wire_name<type> {                          \
    static constexpr std::string_view value = name; \
  }
COPPICE_WIRE_NAME(error_group, "ExceptionGroup");
COPPICE_WIRE_NAME(context_cancelled, "ContextCancelled");
COPPICE_WIRE_NAME(stream_overrun, "StreamOverrun");
COPPICE_WIRE_NAME(remote_actor_error, "RemoteActorError");
COPPICE_WIRE_NAME(actor_died, "ActorDied");
COPPICE_WIRE_NAME(transport_closed, "TransportClosed");
COPPICE_WIRE_NAME(message_type_error, "MsgTypeError");
COPPICE_WIRE_NAME(module_not_exposed, "ModuleNotExposed");
COPPICE_WIRE_NAME(no_such_function, "AttributeError");
COPPICE_WIRE_NAME(argument_error, "TypeError");
COPPICE_WIRE_NAME(timeout_error, "TimeoutError");
COPPICE_WIRE_NAME(limit_exceeded, "LimitExceeded");
COPPICE_WIRE_NAME(backend_unavailable, "BackendUnavailable");
COPPICE_WIRE_NAME(actor_start_error, "ActorFailure");
COPPICE_WIRE_NAME(restart_limit_exceeded, "RestartLimitExceeded");
COPPICE_WIRE_NAME(call_stuck, "CallStuck");
COPPICE_WIRE_NAME(lagged, "Lagged");
COPPICE_WIRE_NAME(out_of_order, "RuntimeError");
COPPICE_WIRE_NAME(std::out_of_range, "IndexError");
COPPICE_WIRE_NAME(std::length_error, "ValueError");
COPPICE_WIRE_NAME(std::domain_error, "ArithmeticError");
COPPICE_WIRE_NAME(std::invalid_argument, "ValueError");
COPPICE_WIRE_NAME(std::overflow_error, "OverflowError");
COPPICE_WIRE_NAME(std::underflow_error, "ArithmeticError");
COPPICE_WIRE_NAME(std::range_error, "ArithmeticError");
COPPICE_WIRE_NAME(std::system_error, "OSError");
COPPICE_WIRE_NAME(std::bad_alloc, "MemoryError");
COPPICE_WIRE_NAME(std::bad_cast, "TypeError");
COPPICE_WIRE_NAME(std::runtime_error, "RuntimeError");
COPPICE_WIRE_NAME(std::logic_error, "AssertionError");
#undef COPPICE_WIRE_NAME

}  // namespace coppice
