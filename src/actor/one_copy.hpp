// SPDX-License-Identifier: Apache-2.0
// One libcoppice per process: two would not know of each other's actors, threads and signals.
#pragma once

namespace coppice::tree {

/// Throws coppice::error, one sentence with both paths, if this process has loaded two copies of
/// libcoppice.so, whatever their versions: a wheel's beside a program's, say. A copy that was
/// linked statically into something is not seen. Thread: any. Takes microseconds.
void refuse_second_copy();

}  // namespace coppice::tree
