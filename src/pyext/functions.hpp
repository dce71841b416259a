// SPDX-License-Identifier: Apache-2.0
// The functions of `_coppice`.
#pragma once

#include <cstdint>

#include "coppice/payload.hpp"
#include "pyext/convert.hpp"
#include "pyhost/python.hpp"

namespace coppice::py {

class guest_actor;

/// Ends with an empty entry. The functions are documented in python/coppice/_coppice.pyi.
extern PyMethodDef module_functions[];

// What several of them begin with. They throw what the border makes a Python exception of.
guest_actor& own_actor();
std::uint64_t number_from(PyObject* number);
payload kwargs_from(PyObject* mapping);

}  // namespace coppice::py
