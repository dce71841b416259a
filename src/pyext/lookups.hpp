// SPDX-License-Identifier: Apache-2.0
// Finding other actors, for Python.
#pragma once

#include <vector>

#include "msg/messages.hpp"
#include "pyext/ref.hpp"

namespace coppice::py {

class guest_actor;

/// A list of addresses, each ('host', port), ('directory', 'file') or text; None is none.
std::vector<msg::wire_address> addresses_from(PyObject* list, const char* what);

/// Starts a lookup: 'find', 'wait', 'query' or 'registry'. The outcome is settled like a call's:
/// whether somebody was found, addresses or None, or the table. Gives a handle; when that goes, the
/// lookup ends, and so do the connections that only it kept.
ref start_lookup(guest_actor& actor, PyObject* kind, PyObject* name, PyObject* options,
                 PyObject* token);
/// Nobody waits for it any more.
void forget_lookup(guest_actor& actor, PyObject* handle);
/// Links to those who were found.
ref found_by(PyObject* handle);
void end_lookup(PyObject* handle);

}  // namespace coppice::py
