// SPDX-License-Identifier: Apache-2.0
// coppice.Buffer: Python's shared_buffer.
#pragma once

#include <memory>
#include <vector>

#include "coppice/detail/owned_bytes.hpp"
#include "pyhost/python.hpp"

namespace coppice::py {

/// coppice.Buffer of the current interpreter: immutable bytes with the buffer protocol. Its bytes
/// are never an object's of some interpreter: they are copied out of one once, when a Buffer is
/// made, and from then on actors share them, whichever of them ends first. Made on first use, kept
/// by the interpreter. A borrowed reference; null with an error set if memory is short.
PyTypeObject* buffer_type() noexcept;

/// A Buffer of these bytes, which are not copied: a new reference; null with an error set.
PyObject* make_buffer(const owned_bytes& block) noexcept;

/// What a Buffer holds; null: the object is none. Valid while it lives. Of any interpreter.
const owned_bytes* block_of(PyObject* object) noexcept;

/// Takes from all Buffers of the interpreter what keeps their bytes, for as long as the result
/// lives. The frames of a forced stop never release theirs: whoever ends the interpreter lets go of
/// this afterwards.
std::vector<std::shared_ptr<const void>> take_owners();

}  // namespace coppice::py
