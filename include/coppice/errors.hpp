// SPDX-License-Identifier: Apache-2.0
// Everything that can go wrong, as types. Cancellation is none of them.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>
#include <vector>

#include "coppice/stop.hpp"

namespace coppice {

/// The base of every fault that Coppice reports. what() names the actor, the operation and the next
/// thing to try.
class error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// fail_after() ran out of time, or one of the bounds in `limits` passed. Python: TimeoutError.
class timeout_error : public error {
 public:
  using error::error;
};

/// A spawn key that this build or machine cannot serve: which, what is missing, what to do.
class backend_unavailable : public error {
 public:
  using error::error;
};

/// A value that cannot travel, or bytes that are not what the receiver declared.
class message_type_error : public error {
 public:
  using error::error;
};

/// A frame, a queue or a depth beyond its limit; names the limit's option.
class limit_exceeded : public error {
 public:
  using error::error;
};

/// The peer broke the protocol: costs its connection, never the actor.
class protocol_error : public error {
 public:
  using error::error;
};

/// The connection to a peer is gone. Every call that waited on it gets this or a subclass.
class transport_closed : public error {
 public:
  using error::error;
};

/// The actor at the other end has ended; report() says how.
class actor_died : public transport_closed {
 public:
  actor_died(std::string_view name, exit_report report);
  const exit_report& report() const noexcept { return *report_; }

 private:
  std::shared_ptr<const exit_report> report_;  // Shared: exceptions must copy without throwing.
};

/// A value was sent into a channel whose receiving side will not take it any more, or something was
/// done with an end that was closed.
class channel_closed : public error {
 public:
  using error::error;
};

/// A subscriber of a broadcast_channel was too slow: missed() values were overwritten before it
/// took them. It goes on with the oldest that is kept.
class lagged : public error {
 public:
  lagged(const std::string& where, std::uint64_t missed)
      : error(where + ": " + std::to_string(missed) +
              " values were overwritten before it took them; take faster, or keep more"),
        missed_(missed) {}
  std::uint64_t missed() const noexcept { return missed_; }

 private:
  std::uint64_t missed_;
};

/// A lock, permit or token that the task has already, or that it gives back without having it.
class ownership_error : public error {
 public:
  using error::error;
};

/// An actor could not be started. report() has the end of a child that died before it connected.
class actor_start_error : public error {
 public:
  explicit actor_start_error(const std::string& what, exit_report report = {});
  const exit_report& report() const noexcept { return *report_; }

 private:
  std::shared_ptr<const exit_report> report_;
};

/// The called module is not on the callee's list of enabled modules.
class module_not_exposed : public error {
 public:
  using error::error;
};

/// The module is exposed but has no function of that name. Python: AttributeError.
class no_such_function : public error {
 public:
  using error::error;
};

/// Arguments that do not fit the called function: a name that it does not have, one that is
/// missing, a value of another type. Python: TypeError.
class argument_error : public error {
 public:
  using error::error;
};

/// A cancelled call whose code did not stop within its bound. The actor stays.
class call_stuck : public error {
 public:
  using error::error;
};

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
  std::vector<remote_error_info> members;  // Of an exception group; empty otherwise.
  std::optional<uid> canceller = {};       // Of a ContextCancelled: who asked.
  std::optional<uid> sender = {};          // Of a StreamOverrun: whose value did not fit.
};

template <class E>
struct wire_name;  // Specialised below: the class name under which E crosses actors.

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

 private:
  std::shared_ptr<const remote_error_info> info_;
};

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

/// The error as it travels, from any exception; `self` is the actor that sends it.
remote_error_info to_remote(const std::exception_ptr& e, const uid& self);

// C++ and Python types that mean the same to both, by the Python class name.
#define COPPICE_WIRE_NAME(type, name)               \
  template <>                                       \
  struct wire_name<type> {                          \
    static constexpr std::string_view value = name; \
  }
COPPICE_WIRE_NAME(std::invalid_argument, "ValueError");
COPPICE_WIRE_NAME(std::domain_error, "ArithmeticError");
COPPICE_WIRE_NAME(std::out_of_range, "IndexError");
COPPICE_WIRE_NAME(std::overflow_error, "OverflowError");
COPPICE_WIRE_NAME(std::bad_alloc, "MemoryError");
COPPICE_WIRE_NAME(std::bad_cast, "TypeError");
COPPICE_WIRE_NAME(std::runtime_error, "RuntimeError");
COPPICE_WIRE_NAME(std::logic_error, "AssertionError");
COPPICE_WIRE_NAME(timeout_error, "TimeoutError");
COPPICE_WIRE_NAME(module_not_exposed, "ModuleNotExposed");
COPPICE_WIRE_NAME(message_type_error, "MsgTypeError");
COPPICE_WIRE_NAME(no_such_function, "AttributeError");
COPPICE_WIRE_NAME(argument_error, "TypeError");
COPPICE_WIRE_NAME(transport_closed, "TransportClosed");
COPPICE_WIRE_NAME(actor_died, "ActorDied");
COPPICE_WIRE_NAME(remote_actor_error, "RemoteActorError");
COPPICE_WIRE_NAME(error_group, "ExceptionGroup");
#undef COPPICE_WIRE_NAME

}  // namespace coppice
