// SPDX-License-Identifier: Apache-2.0
// The fields of an Error that no other message has, to and from msgpack.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coppice/detail/msgpack.hpp"
#include "coppice/errors.hpp"
#include "coppice/message.hpp"

// Texts are mended where they are not UTF-8: an error must always get through.

namespace coppice::msg {

void write_mended(msgpack::writer& w, const std::string& text);
void write_mended(msgpack::writer& w, const std::optional<std::string>& text);
void write_mended(msgpack::writer& w, const uid& v);
void write_mended(msgpack::writer& w, const std::optional<uid>& v);
void write_mended(msgpack::writer& w, const std::vector<uid>& path);
void write_mended(msgpack::writer& w, const payload& v);
/// All of it but `bytes`. REQUIRES: there is one.
void write_mended(msgpack::writer& w, const std::optional<bad_message>& v);
/// A list of maps with the keys of an Error, nested.
void write_mended(msgpack::writer& w, const std::vector<remote_error_info>& members);

bad_message read_mismatch(msgpack::reader& r);
std::vector<remote_error_info> read_members(msgpack::reader& r);

}  // namespace coppice::msg
