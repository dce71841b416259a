// SPDX-License-Identifier: Apache-2.0
#include "actor/backend_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "coppice/errors.hpp"

namespace coppice::tree {

namespace {

std::string keys_of(const backend_list& all) {
  std::string text;
  for (const auto& b : all) text += (text.empty() ? "" : ", ") + std::string(b->key());
  return text;
}

spawn::backend* backend_of(const backend_list& all, std::string_view key) {
  const auto found = std::ranges::find(all, key, &spawn::backend::key);
  return found == all.end() ? nullptr : found->get();
}

/// Whether a method serves actors in either of its languages, and what it says of the other.
struct service {
  bool some = false;
  std::string reason;
};

service service_of(const spawn::method& m, spawn::backend& b) {
  service out;
  std::string refusals[2];
  for (const bool native : {true, false}) {
    if (!(native ? m.native : m.python)) continue;
    spawn::child_spec spec;
    spec.native = native;
    auto why = b.refusal(spec);
    if (!why) out.some = true;
    refusals[native ? 0 : 1] = why.value_or("");
  }
  const auto& [of_native, of_python] = refusals;
  const bool both_languages = m.native && m.python;
  if (!of_native.empty() && both_languages) out.reason = "C++: " + of_native;
  if (!of_native.empty() && !both_languages) out.reason = of_native;
  if (of_python.empty()) return out;
  if (!out.reason.empty()) out.reason += "; ";
  out.reason += both_languages ? "Python: " + of_python : of_python;
  return out;
}

}  // namespace

std::vector<backend_row> backend_table(const backend_list& all, bool may_test) {
  std::vector<backend_row> rows;
  for (const spawn::method& m : spawn::methods()) {
    backend_row row;
    row.what = &m;
    spawn::backend* b = backend_of(all, m.key);
    if (m.key == spawn::automatic.text()) {
      row.available = true;
    } else if (!b) {
      row.reason = spawn::not_served(m.key, keys_of(all));
    } else {
      service how = service_of(m, *b);
      row.available = how.some;
      row.reason = std::move(how.reason);
      if (row.available) row.forced_stops = b->forced_stops(may_test);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

void refuse_unserved(const spawn::selection& chosen, const backend_list& all) {
  if (chosen.key == spawn::automatic.text()) return;
  std::string why;
  if (spawn::backend* b = backend_of(all, chosen.key)) {
    service how = service_of(*spawn::find_method(chosen.key), *b);
    if (how.some) return;
    why = std::move(how.reason);
  } else {
    why = spawn::not_served(chosen.key, keys_of(all));
  }
  throw backend_unavailable(fmt::format("{} cannot be had here: {}", chosen.describe(), why));
}

}  // namespace coppice::tree
