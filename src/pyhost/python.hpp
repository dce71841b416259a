// SPDX-License-Identifier: Apache-2.0
// Python.h, quiet under our warnings, and the few facts about its inside that we rely on.
#pragma once

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>  // IWYU pragma: export
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#if PY_VERSION_HEX < 0x030E0100
#error "CPython 3.14.1 or later is needed: older ones abort when an interpreter with threads ends"
#endif
#ifdef Py_GIL_DISABLED
#error "A free-threaded CPython cannot host guests: stopping one relies on its GIL"
#endif
