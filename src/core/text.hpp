// SPDX-License-Identifier: Apache-2.0
// Durations as people write them, for names, errors and dumps.
#pragma once

#include <string>

#include "coppice/clock.hpp"
#include "coppice/detail/task_node.hpp"
#include "coppice/introspect.hpp"

namespace coppice::core {

std::string to_text(duration d);  // "2s", "150ms", "1.5s", "80us", "2h"

/// A scope by its limit ("fail_after(2s)"), else by its name; "cancel scope" without one.
std::string name_of_scope(const char* limit_of, duration limit, const std::string& name);

/// "'writer'"; a task without a name is known by the coroutine in which it goes on.
std::string to_text(const detail::task_node& task);

/// "task 'reader'", "task 12" without a name, "no task" for null.
std::string who(const detail::task_node* task);

/// A line of a dump: "quarantine: thread work 'pack', abandoned by task 'backup' 3s ago".
std::string to_text(const abandoned_work& w);

}  // namespace coppice::core
