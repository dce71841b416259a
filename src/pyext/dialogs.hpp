// SPDX-License-Identifier: Apache-2.0
// Contexts and streams, as the functions of `_coppice` that Python's half of them calls.
#pragma once

#include <string_view>

#include "msg/messages.hpp"
#include "pyext/ref.hpp"

namespace coppice::py {

/// How much of a stream lies here before its sender has to wait, if its user does not say: to begin
/// with, and from a peer that knows no credit, what is tractor's; opened, between Coppice's actors,
/// so much that a sender and a receiver on two cores do not wait for each other's wake-ups.
constexpr std::uint32_t opened_window_messages = 4096;

/// 'context' or 'asyncgen'. Throws python_error.
msg::call_kind dialog_kind_from(PyObject* text);

/// Is it one of those functions that `coppice.context` or `coppice.stream` marked? Costs a plain
/// function the look at an empty field.
bool is_endpoint(PyObject* function);

// The functions: see _coppice.pyi. Arguments are theirs, by position.
ref open_dialog(PyObject* const* a);
ref start_dialog(PyObject* const* a);
ref open_stream(PyObject* const* a);
ref send_value(PyObject* const* a);
ref take_value(PyObject* const* a);
ref stop_stream(PyObject* const* a);
ref release_dialog(PyObject* const* a);
ref peer_opened(PyObject* const* a);
ref look_at_dialog(PyObject* const* a);

}  // namespace coppice::py
