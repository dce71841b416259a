// SPDX-License-Identifier: Apache-2.0
// The one function of libcoppice_tls.so.
#pragma once

#include "ipc/tls.hpp"

namespace coppice::ipc {

/// Null and the sentence in `why`, or a context that is the caller's.
using make_tls_function = tls_context*(const tls_options& options, std::string& why);
inline constexpr const char* make_tls_symbol = "coppice_make_tls";

}  // namespace coppice::ipc
