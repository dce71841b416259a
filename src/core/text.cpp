// SPDX-License-Identifier: Apache-2.0
#include "core/text.hpp"

#include <cstdio>

namespace coppice::core {

std::string to_text(duration d) {
  struct unit {
    const char* name;
    double ns;
  };
  static constexpr unit units[] = {
      {"h", 3600e9}, {"min", 60e9}, {"s", 1e9}, {"ms", 1e6}, {"us", 1e3}};
  const auto ns = static_cast<double>(d.count());
  const double size = ns < 0 ? -ns : ns;
  char text[32];
  for (const unit& u : units) {
    if (size < u.ns) continue;
    std::snprintf(text, sizeof text, "%.4g%s", ns / u.ns, u.name);
    return text;
  }
  std::snprintf(text, sizeof text, "%.4gns", ns);
  return size == 0 ? "0s" : text;
}

std::string name_of_scope(const char* limit_of, duration limit, const std::string& name) {
  if (limit_of != nullptr) return std::string(limit_of) + "(" + to_text(limit) + ")";
  return name.empty() ? "cancel scope" : name;
}

std::string who(const detail::task_node* task) {
  if (task == nullptr) return "no task";
  return "task " + (task->name.empty() ? std::to_string(task->id) : "'" + task->name + "'");
}

std::string to_text(const abandoned_work& w) {
  return "quarantine: thread work '" + w.work + "', abandoned by task " + w.task + " " +
         to_text(w.since) + " ago";
}

}  // namespace coppice::core
