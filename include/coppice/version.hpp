// SPDX-License-Identifier: Apache-2.0
// Which Coppice this is.
#pragma once

namespace coppice {

/// "0.1.0": of the library that is loaded, which may not be the one that was compiled against.
const char* version() noexcept;

}  // namespace coppice
