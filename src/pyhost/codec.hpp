// SPDX-License-Identifier: Apache-2.0
// Python objects straight to msgpack and back.
#pragma once

#include <optional>
#include <string_view>

#include "coppice/detail/msgpack_buffer.hpp"
#include "coppice/payload.hpp"
#include "pyhost/python.hpp"

namespace coppice::py {

/// What travels, and what it is when it arrives:
///
/// | sent                              | arrives as                                              |
/// |-----------------------------------|---------------------------------------------------------|
/// | None, bool, float                 | itself                                                  |
/// | int of -2**63 .. 2**64-1          | itself; OverflowError beyond                            |
/// | str                               | itself; ValueError if it holds a lone surrogate         |
/// | bytes, bytearray, memoryview      | bytes                                                   |
/// | coppice.Buffer, a memoryview of it| coppice.Buffer where it was not copied, else bytes      |
/// | list, tuple and their subclasses  | list (a named tuple too; as a part of a dict key: tuple)|
/// | dict and its subclasses           | dict, keys in their order                               |
/// | set, frozenset                    | list, in no order                                       |
/// | a member of an enum.Enum          | its value                                               |
/// | a dataclass instance              | dict by field name                                      |
/// | a msgspec.Struct                  | what msgspec.to_builtins() makes of it                  |
/// | datetime with a time zone         | datetime in UTC, to the microsecond                     |
/// | datetime without, date, time      | str, ISO 8601                                           |
/// | timedelta                         | str, ISO 8601: "P1DT3.5S"                               |
/// | Decimal, UUID                     | str                                                     |
///
/// Everything else is a TypeError that says where it sits: "cannot send a 'set' at kwargs['x'][3]:
/// …". So is an instance of a subclass of int, float, str or bytes that is no enum member: who made
/// such a class gave it a meaning that the receiver would not see. These are msgspec's rules.
///
/// Containers nest 512 deep, on both sides; one that contains itself is a RecursionError.
///
/// Owner: nobody, these are functions. Thread: the interpreter's, attached, with no exception set.

/// Appends one value to `out`. `what` names it in errors: "kwargs", "result". False: an exception
/// is set, and `out` is as it was.
bool encode(PyObject* value, std::string_view what, msgpack::buffer& out);
/// The same as a payload; nullopt: an exception is set.
std::optional<payload> encode(PyObject* value, std::string_view what);

/// One value, whoever made the bytes: a new reference, or null with ValueError set (they are not
/// one msgpack value, or hold what Python has no object for), RecursionError or MemoryError. `what`
/// names it in errors. A later entry of a map with the same key wins.
PyObject* decode(const payload& bytes, std::string_view what);

}  // namespace coppice::py
