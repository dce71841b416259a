// SPDX-License-Identifier: Apache-2.0
// What the end of an interpreter runs of Python code, brought forward.
#pragma once

namespace coppice::py {

/// Remembers what `sys` and `builtins` of the current interpreter hold, before its own code has
/// run. False with an error set: no memory.
bool note_originals() noexcept;

/// Does what Py_EndInterpreter does with modules before it frees anything (finalize_modules() in
/// Python/pylifecycle.c): drops all that are written in Python, collects garbage, empties those
/// that somebody still holds, collects again; `sys` and `builtins` get back what they had at first.
/// So all finalizers run here, on a thread that can be interrupted and forced, and none is left for
/// Py_EndInterpreter, which can be neither.
///
/// Not found: objects that only an extension module or CPython's own registries hold (codecs, audit
/// hooks, os.register_at_fork). They are freed without running Python code.
///
/// REQUIRES: attached, no error set; no other thread runs in the interpreter.
void end_modules() noexcept;

/// Lets go of what note_originals() keeps. Attached.
void forget_originals() noexcept;

}  // namespace coppice::py
