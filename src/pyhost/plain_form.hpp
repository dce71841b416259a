// SPDX-License-Identifier: Apache-2.0
// What travels in the place of a Python object that is not msgpack itself.
#pragma once

#include <cstdint>

#include "pyhost/python.hpp"

namespace coppice::py {

/// Seconds since 1970, UTC, and what is left of one: msgpack's own timestamp.
struct timestamp {
  std::int64_t seconds = 0;
  std::uint32_t nanoseconds = 0;
};

/// The plain object that travels for `o`, which is none itself: a list for a set, a dict for a
/// dataclass instance, a str for a date. Imports nothing: whose class exists is imported already.
struct plain_form {
  enum class kind : std::uint8_t {
    none,    // It cannot travel.
    object,  // `object`, a new reference.
    time,    // A datetime with a time zone: `time`.
    failed,  // An exception is set.
  };
  kind is = kind::none;
  PyObject* object = nullptr;
  timestamp time = {};

  static plain_form of(PyObject* o);
};

/// A datetime.datetime in UTC; imports `datetime`. Null: an exception is set, OverflowError or
/// ValueError if it is beyond the years that Python knows.
PyObject* datetime_of(timestamp t);

}  // namespace coppice::py
