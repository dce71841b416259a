// SPDX-License-Identifier: Apache-2.0
// What the conformance tests share: the backends, endpoints in both languages, a tree per test.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "coppice/coppice.hpp"

namespace coppice::conformance {

/// A way to start an actor: a backend, a language, and how it reaches its parent.
struct kind {
  std::string name;
  spawn::key backend;
  bool python = false;
  std::string_view transport = {};  // Of a process.
  bool has_own_process() const { return backend != spawn::thread && backend != spawn::subint; }
};
inline void PrintTo(const kind& k, std::ostream* out) {
  *out << k.name;
}  // NOLINT: GoogleTest's name.
std::vector<kind> all_kinds();
kind kind_called(std::string_view name);  // Throws std::invalid_argument.
/// For SetUp(): a kind that this build cannot start is skipped.
void skip_unless_built(const kind& k);
inline std::string kind_name(const testing::TestParamInfo<kind>& info) { return info.param.name; }

// --- in C++; tests/conformance/kit_py.py has the same in Python ----------------------------------
struct totals {
  std::int64_t a = 0;
  double b = 0;
  std::string text;
  std::vector<std::int64_t> list;
};
struct numbers {  // A dialog, all of whose payloads are numbers.
  using started = std::int64_t;
  using to_callee = std::int64_t;
  using to_caller = std::int64_t;
};
using number_stream = stream<std::int64_t, std::int64_t>;
extern const std::vector<exposed> endpoints;               // For every kind; so are
extern const std::vector<exposed> endpoints_of_homes;      // these.
extern const std::vector<exposed> endpoints_of_scenarios;  // In C++ only; so is the rest.
extern const std::vector<exposed> endpoints_of_one_shots;
extern const std::vector<exposed> endpoints_of_services;
extern const std::vector<exposed> endpoints_of_supervision;
extern const std::vector<error_kind> errors_of_services;
std::vector<exposed> all_endpoints();

/// Runs `body` as the root actor of a tree of its own, on this thread, and gives the exit status.
/// Afterwards fails the test unless threads, processes, descriptors and socket files are as before.
int run_tree(std::function<task<>(actor&)> body, transport_settings transports = {},
             std::vector<std::string> registry_addrs = {});

/// Options for a kind: the module is enabled under the same name in both languages.
actor_options options_for(const kind& k);
/// `module` outlives it: a literal.
actor_options options_for(const kind& k, std::string_view module);

/// "module:function" of the shared endpoints, for a kind.
std::string function(const kind& k, const char* name);

}  // namespace coppice::conformance
