// SPDX-License-Identifier: Apache-2.0
// msgpack for C++ values and, in the Python layer, for Python objects: one writer, one reader.
#pragma once

#include "coppice/detail/msgpack_buffer.hpp"
#include "coppice/detail/msgpack_reader.hpp"
#include "coppice/detail/msgpack_writer.hpp"
