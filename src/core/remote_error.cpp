// SPDX-License-Identifier: Apache-2.0
#include "coppice/remote_error.hpp"

#include "coppice/detail/settled.hpp"
#include "coppice/errors.hpp"
#include "core/type_name.hpp"

namespace coppice {

namespace {

bool never(const std::exception&) noexcept { return false; }

template <class E>
std::exception_ptr from_message(const std::string& message) {
  return std::make_exception_ptr(E(message));
}
template <class E>
std::exception_ptr without_message(const std::string&) {
  return std::make_exception_ptr(E());
}

template <std::errc Code>
std::exception_ptr make_os_error(const std::string& message) {
  return std::make_exception_ptr(std::system_error(std::make_error_code(Code), message));
}
template <std::errc Code>
bool is_os_error(const std::exception& e) noexcept {
  const auto* os = dynamic_cast<const std::system_error*>(&e);
  return os != nullptr && os->code() == Code;
}
template <std::errc Code>
constexpr error_kind os_error(std::string_view name) {
  return {name, &is_os_error<Code>, &make_os_error<Code>};
}

// What Python has and C++ has only something wider for.
template <class E>
constexpr error_kind python_only(std::string_view name) {
  return {name, &never, &from_message<E>};
}

// A fault of ours without a twin in Python keeps its own name, though it is a runtime_error too.
bool is_foreign_runtime_error(const std::exception& e) noexcept {
  return dynamic_cast<const std::runtime_error*>(&e) != nullptr &&
         dynamic_cast<const error*>(&e) == nullptr;
}

// A class before its bases. docs/errors.md has it for people.
constexpr error_kind table[] = {
    error_type<error_group>,
    error_type<context_cancelled>,
    error_type<stream_overrun>,
    error_type<remote_actor_error>,
    error_type<actor_died>,
    error_type<transport_closed>,
    error_type<message_type_error>,
    error_type<module_not_exposed>,
    error_type<no_such_function>,
    error_type<argument_error>,
    error_type<timeout_error>,
    error_type<limit_exceeded>,
    error_type<backend_unavailable>,
    error_type<actor_start_error>,
    error_type<restart_limit_exceeded>,
    error_type<call_stuck>,
    error_type<lagged>,
    error_type<std::invalid_argument>,
    error_type<std::out_of_range>,
    error_type<std::domain_error>,
    error_type<std::length_error>,
    error_type<std::overflow_error>,
    error_type<std::underflow_error>,
    error_type<std::range_error>,
    os_error<std::errc::no_such_file_or_directory>("FileNotFoundError"),
    os_error<std::errc::file_exists>("FileExistsError"),
    os_error<std::errc::is_a_directory>("IsADirectoryError"),
    os_error<std::errc::not_a_directory>("NotADirectoryError"),
    os_error<std::errc::permission_denied>("PermissionError"),
    os_error<std::errc::connection_refused>("ConnectionRefusedError"),
    os_error<std::errc::connection_reset>("ConnectionResetError"),
    os_error<std::errc::connection_aborted>("ConnectionAbortedError"),
    os_error<std::errc::broken_pipe>("BrokenPipeError"),
    os_error<std::errc::timed_out>("TimeoutError"),
    {"OSError", error_type<std::system_error>.is, &make_os_error<std::errc::io_error>},
    {"MemoryError", error_type<std::bad_alloc>.is, &without_message<std::bad_alloc>},
    error_type<std::bad_cast>,
    {"RuntimeError", &is_foreign_runtime_error, &from_message<std::runtime_error>},
    error_type<out_of_order>,  // Behind it: a RuntimeError that comes from elsewhere is any.
    error_type<std::logic_error>,
    python_only<std::out_of_range>("KeyError"),
    python_only<std::out_of_range>("LookupError"),
    python_only<std::invalid_argument>("UnicodeError"),
    python_only<std::domain_error>("ZeroDivisionError"),
    python_only<std::domain_error>("FloatingPointError"),
    python_only<std::runtime_error>("NotImplementedError"),
    python_only<std::runtime_error>("RecursionError"),
    python_only<transport_closed>("ConnectionError"),
};

const error_kind* find_kind(std::string_view name, std::span<const error_kind> yours) noexcept {
  for (const auto kinds : {yours, std::span<const error_kind>(table)})
    for (const error_kind& kind : kinds)
      if (kind.name == name) return &kind;
  return nullptr;
}

// These say more by their class than that they were passed on. An overrun does not: whoever passes
// it on has not overrun anybody.
bool keeps_its_class(std::string_view type) {
  return type == wire_name<context_cancelled>::value ||
         type == wire_name<message_type_error>::value;
}

remote_error_info relayed(const remote_actor_error& e, const uid& self) {
  remote_error_info info = e.info();
  if (!keeps_its_class(info.type)) info.type = wire_name<remote_actor_error>::value;
  // A cancellation is said anew by everybody who passes it on: who cancelled stays.
  if (info.type == wire_name<context_cancelled>::value) info.source = self;
  info.path.push_back(self);
  return info;
}

// An error always gets through: what it drags along must not stop it.
std::optional<bad_message> carried(const message_type_error& e) {
  if (e.bad() == nullptr) return std::nullopt;
  bad_message bad = *e.bad();
  if (bad.bytes.size() > bad_message_bytes_max) bad.bytes = {};
  return bad;
}

remote_error_info local(const std::exception& e, const uid& self,
                        std::span<const error_kind> yours) {
  const std::string_view known = wire_name_of(e, yours);
  remote_error_info info;
  info.type = known.empty() ? core::class_name(typeid(e)) : std::string(known);
  info.source_type = info.type;
  info.message = e.what();
  info.source = self;
  info.path.push_back(self);
  if (const auto* bad = dynamic_cast<const message_type_error*>(&e)) info.bad_msg = carried(*bad);
  if (const auto* group = dynamic_cast<const error_group*>(&e)) {
    for (const std::exception_ptr& member : group->errors()) {
      info.members.push_back(to_remote(member, self, yours));
    }
  }
  return info;
}

std::exception_ptr unwrapped_group(const remote_actor_error& e, std::span<const error_kind> yours) {
  std::vector<std::exception_ptr> members;
  for (const remote_error_info& member : e.members())
    members.push_back(remote_actor_error(member).unwrap(yours));
  return std::make_exception_ptr(error_group(e.message(), std::move(members)));
}

}  // namespace

message_type_error::message_type_error(bad_message what)
    : error(what.type + ": expected " + what.expected + ", got " + what.got),
      bad_(std::make_shared<const bad_message>(std::move(what))) {}

remote_actor_error::remote_actor_error(remote_error_info info)
    : error(info.source_type + ": " + info.message),
      info_(std::make_shared<const remote_error_info>(std::move(info))) {}

std::vector<std::string> remote_actor_error::path() const {
  std::vector<std::string> names;
  for (const uid& hop : info_->path) names.push_back(hop.name);
  return names;
}

std::exception_ptr remote_actor_error::unwrap(std::span<const error_kind> yours) const {
  if (!members().empty()) return unwrapped_group(*this, yours);
  if (info_->bad_msg && is<message_type_error>())
    return std::make_exception_ptr(message_type_error(message(), *info_->bad_msg));
  const error_kind* kind = find_kind(source_type(), yours);
  if (kind == nullptr || kind->make == nullptr) return to_exception(*info_);
  return kind->make(message());
}

std::exception_ptr to_exception(remote_error_info info) {
  if (info.type == wire_name<context_cancelled>::value)
    return std::make_exception_ptr(context_cancelled(std::move(info)));
  if (info.type == wire_name<stream_overrun>::value)
    return std::make_exception_ptr(stream_overrun(std::move(info)));
  return std::make_exception_ptr(remote_actor_error(std::move(info)));
}

std::span<const error_kind> standard_errors() noexcept { return table; }

std::string_view wire_name_of(const std::exception& e, std::span<const error_kind> yours) noexcept {
  for (const auto kinds : {yours, std::span<const error_kind>(table)})
    for (const error_kind& kind : kinds)
      if (kind.is(e)) return kind.name;
  return {};
}

remote_error_info to_remote(const std::exception_ptr& e, const uid& self,
                            std::span<const error_kind> yours) {
  try {
    std::rethrow_exception(e);
  } catch (const remote_actor_error& r) {
    return relayed(r, self);
  } catch (const std::exception& x) {
    return local(x, self, yours);
  } catch (...) {
    remote_error_info info;
    const std::type_info* type = core::type_of(e);
    info.type = detail::is_cancelled(e) ? "Cancelled"
                : type != nullptr       ? core::class_name(*type)
                                        : "unknown";
    info.source_type = info.type;
    info.message = describe_exception(e);
    info.source = self;
    info.path.push_back(self);
    return info;
  }
}

}  // namespace coppice
