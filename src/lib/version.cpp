// SPDX-License-Identifier: Apache-2.0
#include "coppice/version.hpp"

namespace coppice {

const char* version() noexcept { return "0.1.0"; }

}  // namespace coppice
