// SPDX-License-Identifier: Apache-2.0
// The extension module `_coppice`: what Python code sees of its actor.
#pragma once

#include "ipc/link.hpp"
#include "pyext/ref.hpp"

PyMODINIT_FUNC PyInit__coppice(void);  // extern "C", and visible

namespace coppice::py {

/// Puts `_coppice` into sys.modules of this interpreter, under that name and as `coppice._coppice`,
/// unless it is there. No file, no sys.path, and no stop at the main interpreter's GIL, through
/// which an ordinary import of an extension module goes. False: an exception is set.
bool publish_native_module();

/// A `_coppice.Link`. Empty, with an exception set: `_coppice` is gone, or memory.
ref make_link(const ipc::link_ptr& l);
/// The link in a `_coppice.Link`; null with TypeError set: it is none.
ipc::link_ptr link_of(PyObject* object);

}  // namespace coppice::py
