// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <utility>

#include "coppice/errors.hpp"
#include "coppice/exposed.hpp"

namespace coppice {

namespace detail {

namespace {
std::string called(std::string_view endpoint) { return std::string(endpoint) + "()"; }
}  // namespace

void argument_out_of_range(std::string_view endpoint, std::string_view parameter,
                           std::string number) {
  throw argument_error(called(endpoint) + " argument '" + std::string(parameter) + "': " + number +
                       " does not fit the parameter's type");
}

void unknown_argument(std::string_view endpoint, std::string_view name) {
  throw argument_error(called(endpoint) + " has no parameter '" + std::string(name) + "'");
}

void missing_argument(std::string_view endpoint, std::string_view name) {
  throw argument_error(called(endpoint) + " is missing argument '" + std::string(name) + "'");
}

void repeated_argument(std::string_view endpoint, std::string_view name) {
  throw argument_error(called(endpoint) + " got more than one argument '" + std::string(name) +
                       "'");
}

void bad_argument(std::string_view endpoint, std::string_view what) {
  throw argument_error(called(endpoint) + " got a wrong argument: " + std::string(what));
}

}  // namespace detail

namespace {
using full_name = std::pair<std::string_view, std::string_view>;
full_name name_of(const exposed& e) noexcept { return {e.name().module(), e.name().function()}; }
std::string_view module_of(const exposed& e) noexcept { return e.name().module(); }
}  // namespace

endpoint_table::endpoint_table(std::span<const exposed> endpoints)
    : sorted_(endpoints.begin(), endpoints.end()) {
  std::ranges::sort(sorted_, {}, name_of);
  const auto twice = std::ranges::adjacent_find(sorted_, {}, name_of);
  if (twice != sorted_.end()) {
    throw error("two endpoints are called '" + std::string(twice->name().text()) +
                "': give one of them another name");
  }
}

bool endpoint_table::has_module(std::string_view module) const noexcept {
  return std::ranges::binary_search(sorted_, module, {}, module_of);
}

const exposed& endpoint_table::find(std::string_view module, std::string_view function) const {
  const auto found = std::ranges::lower_bound(sorted_, full_name(module, function), {}, name_of);
  if (found != sorted_.end() && name_of(*found) == full_name(module, function)) return *found;
  if (!has_module(module)) {
    throw module_not_exposed("module '" + std::string(module) +
                             "' is not exposed: list its endpoints where the program starts");
  }
  std::string others;
  for (const exposed& e : std::ranges::equal_range(sorted_, module, {}, module_of)) {
    others.append(others.empty() ? "" : ", ").append(e.name().function());
  }
  throw no_such_function("module '" + std::string(module) + "' has no function '" +
                         std::string(function) + "' (it has: " + others + ")");
}

}  // namespace coppice
