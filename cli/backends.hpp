// SPDX-License-Identifier: Apache-2.0
// `coppice backends`: the spawn methods, and what each comes to on this machine.
#pragma once

namespace coppice::cli {

/// Prints the table, or a JSON array with one object per method. The exit status.
int print_backends(bool json);

}  // namespace coppice::cli
