// SPDX-License-Identifier: Apache-2.0
// handle_errors(): one handler per type of error, bare or grouped, like Python's except*.
#pragma once

#include <exception>
#include <type_traits>
#include <utility>
#include <vector>

#include "coppice/detail/start_args.hpp"
#include "coppice/errors.hpp"

namespace coppice {

namespace detail {

template <class Handler>
struct handled {
  using params = typename callable<Handler>::params;
  static_assert(params::size == 1, "a handler takes one thing: the error, by const reference");
  using error = typename last_of<params>::type;
  static_assert(!std::is_same_v<error, cancelled>,
                "a cancellation is not an error: only the scope that caused it may stop it");
  static_assert(!std::is_same_v<error, error_group>,
                "groups are taken apart: write handlers for the errors in them");
};

/// True if the handler takes it. What the handler throws is kept in `raised`.
template <class Handler>
bool offer(const std::exception_ptr& e, std::vector<std::exception_ptr>& raised, Handler& handler) {
  try {
    std::rethrow_exception(e);
  } catch (const typename handled<Handler>::error& error) {
    try {
      handler(error);
    } catch (...) {
      raised.push_back(std::current_exception());
    }
    return true;
  } catch (...) {
    return false;
  }
}

/// The members of a group, or null if it is none.
const error_group* as_group(const std::exception_ptr& e) noexcept;
/// The same group with fewer members; bare if one is left, null if none is.
std::exception_ptr regroup(const error_group& like, std::vector<std::exception_ptr> left);
/// Throws what handlers raised and what nobody took; returns if there is neither.
void throw_rest(std::vector<std::exception_ptr> raised, std::exception_ptr rest);
/// The exception being handled. REQUIRES: inside a catch block. Rethrows a cancellation.
std::exception_ptr current_error();

/// Walks `e` and gives what nobody took, groups in their shape, or null.
template <class Offer>
std::exception_ptr sift(const std::exception_ptr& e, const Offer& offer_to_all) {
  const error_group* group = as_group(e);
  if (group == nullptr) return offer_to_all(e) ? nullptr : e;
  std::vector<std::exception_ptr> left;
  for (const std::exception_ptr& member : group->errors()) {
    if (std::exception_ptr rest = sift(member, offer_to_all)) left.push_back(std::move(rest));
  }
  return regroup(*group, std::move(left));
}

}  // namespace detail

/// In a catch block: gives each error, bare or inside groups, to the first handler whose
/// parameter's type it has. Throws what no handler takes, in the groups' shape, and what handlers
/// throw. Lets `cancelled` through.
///
///     try { co_await open_nursery(…); }
///     catch (...) {
///       handle_errors([](const remote_actor_error& e) { … }, [](const timeout_error&) { … });
///     }
template <class... Handlers>
void handle_errors(Handlers&&... handlers) {
  const std::exception_ptr e = detail::current_error();
  std::vector<std::exception_ptr> raised;
  std::exception_ptr rest = detail::sift(e, [&](const std::exception_ptr& one) {
    return (detail::offer(one, raised, handlers) || ...);
  });
  detail::throw_rest(std::move(raised), std::move(rest));
}

}  // namespace coppice
