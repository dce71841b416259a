// SPDX-License-Identifier: Apache-2.0
// A broken invariant prints the task tree of the loop that it happened on.
#pragma once

namespace coppice::core {

/// Makes base/assert.hpp print the present thread's loop before it aborts. Any thread, any number
/// of times.
void set_assert_dump() noexcept;

}  // namespace coppice::core
