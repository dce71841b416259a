// SPDX-License-Identifier: Apache-2.0
#include "coppice/errors.hpp"

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <typeinfo>

#include "base/assert.hpp"
#include "coppice/detail/settled.hpp"
#include "coppice/handle_errors.hpp"
#include "core/text.hpp"
#include "core/type_name.hpp"

namespace coppice {

std::string core::class_name(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free);
  return status == 0 ? name.get() : type.name();
}

const std::type_info* core::type_of(const std::exception_ptr& e) noexcept {
  return e ? e.__cxa_exception_type() : nullptr;  // libstdc++, which both compilers use here
}

namespace {

std::string group_text(std::string_view where, const std::vector<std::exception_ptr>& errors) {
  std::string text = std::to_string(errors.size()) + " errors in '" + std::string(where) + "': ";
  const char* between = "";
  for (const std::exception_ptr& e : errors) {
    text.append(between).append(describe_exception(e));
    between = "; ";
  }
  return text;
}

std::string too_often(std::string_view actor, std::size_t restarts_max, duration within,
                      const std::exception_ptr& last_death) {
  std::string text = "actor '";
  text.append(actor).append("' died once too often: more than ");
  text.append(std::to_string(restarts_max)).append(" restarts within ");
  text.append(core::to_text(within)).append("; the last death: ");
  text.append(last_death ? describe_exception(last_death) : "unknown");
  return text + "; see why it dies, or allow more in the nursery's restart_policy";
}

}  // namespace

actor_died::actor_died(std::string_view name, exit_report report)
    : transport_closed("actor '" + std::string(name) + "' has ended: " + report.text()),
      report_(std::make_shared<const exit_report>(std::move(report))) {}

actor_start_error::actor_start_error(const std::string& what, exit_report report)
    : error(what), report_(std::make_shared<const exit_report>(std::move(report))) {}

restart_limit_exceeded::restart_limit_exceeded(std::string_view actor, std::size_t restarts_max,
                                               duration within, std::exception_ptr last_death)
    : error(too_often(actor, restarts_max, within, last_death)),
      actor_(std::make_shared<const std::string>(actor)),
      restarts_max_(restarts_max),
      within_(within),
      last_death_(std::move(last_death)) {}

error_group::error_group(std::string_view where, std::vector<std::exception_ptr> errors)
    : error(group_text(where, errors)),
      where_(std::make_shared<const std::string>(where)),
      errors_(std::make_shared<const std::vector<std::exception_ptr>>(std::move(errors))) {
  for (const std::exception_ptr& e : *errors_) {
    COPPICE_ASSERT(!detail::is_cancelled(e),
                   "a cancellation in a group of errors: no scope could absorb it there");
  }
}

std::string describe_exception(const std::exception_ptr& e) {
  if (!e) return "no error";
  try {
    std::rethrow_exception(e);
  } catch (const cancelled& c) {
    return "cancelled: " + c.cause();
  } catch (const remote_actor_error& r) {
    return r.what();  // Says the type already.
  } catch (const std::exception& x) {
    return core::class_name(typeid(x)) + ": " + x.what();
  } catch (...) {
    const std::type_info* type = core::type_of(e);
    return "an exception of type " + (type != nullptr ? core::class_name(*type) : "unknown");
  }
}

const char* to_string(rung r) noexcept {
  switch (r) {
    case rung::none:
      return "none";
    case rung::asked:
      return "asked";
    case rung::interrupted:
      return "interrupted";
    case rung::forced:
      return "forced";
    case rung::killed:
      return "killed";
    case rung::abandoned:
      return "abandoned";
    case rung::reclaimed:
      return "reclaimed";
  }
  return "unknown";
}

std::string exit_report::text() const {
  std::string says;
  switch (how) {
    case cause::returned:
      says = "returned";
      break;
    case cause::failed:
      says = "failed";
      break;
    case cause::exited:
      says = "exited with status " + std::to_string(status);
      break;
    case cause::signalled: {
      const char* name = ::sigabbrev_np(status);
      says = "killed by " +
             (name != nullptr ? "SIG" + std::string(name) : "signal " + std::to_string(status));
      break;
    }
    case cause::lost:
      says = "exited, status lost";
      break;
    case cause::abandoned:
      says = "abandoned: native code in it never returned";
      break;
  }
  if (!detail.empty()) says += " (" + detail + ")";
  if (rung != coppice::rung::none) {
    says += std::string(", stopped by rung ") + to_string(rung);
    if (took > duration::zero()) says += " in " + core::to_text(took);
  }
  return says;
}

namespace detail {

bool is_cancelled(const std::exception_ptr& e) noexcept {
  const std::type_info* type = core::type_of(e);
  return type != nullptr && *type == typeid(cancelled);  // It is final: no rethrow needed.
}

const error_group* as_group(const std::exception_ptr& e) noexcept {
  try {
    std::rethrow_exception(e);
  } catch (const error_group& group) {
    return &group;  // Lives in `e`.
  } catch (...) {
    return nullptr;
  }
}

std::exception_ptr regroup(const error_group& like, std::vector<std::exception_ptr> left) {
  if (left.empty()) return nullptr;
  if (left.size() == 1) return std::move(left.front());
  return std::make_exception_ptr(error_group(like.where(), std::move(left)));
}

void throw_rest(std::vector<std::exception_ptr> raised, std::exception_ptr rest) {
  if (rest) raised.push_back(std::move(rest));
  if (raised.empty()) return;
  if (raised.size() == 1) std::rethrow_exception(raised.front());
  throw error_group("handle_errors", std::move(raised));
}

std::exception_ptr current_error() {
  std::exception_ptr e = std::current_exception();
  check(e != nullptr,
        "handle_errors() was called outside of a catch block: write catch (...) around it");
  if (is_cancelled(e)) std::rethrow_exception(e);
  return e;
}

}  // namespace detail
}  // namespace coppice
