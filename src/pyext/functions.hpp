// SPDX-License-Identifier: Apache-2.0
// The functions of `_coppice`.
#pragma once

#include "pyext/convert.hpp"
#include "pyhost/python.hpp"

namespace coppice::py {

/// Ends with an empty entry. The functions are documented in python/coppice/_coppice.pyi.
extern PyMethodDef module_functions[];

}  // namespace coppice::py
