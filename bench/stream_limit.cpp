// SPDX-License-Identifier: Apache-2.0
// What the machine allows a stream: bench_stream_limit WIRE_BYTES BYTES_PER_CALL MESSAGES prints
// messages/s and GB/s. A writer that writes so much in each system call and a reader that decodes
// lengths only, in two processes on two processors, over a unix socket.
#include <sys/socket.h>
#include <sys/wait.h>

#include <cstdint>
#include <memory>

#include "bench/bench.hpp"

namespace {

constexpr std::size_t prefix_bytes = 4;
constexpr std::size_t room = 256 * 1024;  // For reading: at least one message, better several.

void write_all(int fd, const std::byte* from, std::size_t n) {
  while (n > 0) {
    const auto done = ::write(fd, from, n);
    if (done <= 0) std::abort();
    from += done;
    n -= static_cast<std::size_t>(done);
  }
}

// Frame after frame, in blocks of what one system call writes. All frames are alike, so a block
// that begins in the middle of one is a part of a row of them.
void write_frames(int fd, std::size_t wire, std::size_t per_call, std::size_t messages) {
  const std::size_t total = wire * messages;
  const std::size_t block = std::min(per_call, total);
  const auto all = std::make_unique<std::byte[]>(block + wire);
  for (std::size_t at = 0; at + prefix_bytes <= block + wire; at += wire)
    for (std::size_t i = 0; i < prefix_bytes; ++i)
      all[at + i] = static_cast<std::byte>((wire - prefix_bytes) >> (8 * i));
  for (std::size_t sent = 0; sent < total;) {
    const std::size_t n = std::min(block, total - sent);
    write_all(fd, all.get() + sent % wire, n);
    sent += n;
  }
}

void read_frames(int fd, std::size_t wire, std::size_t messages) {
  const std::size_t size = std::max(room, 2 * wire);
  const auto in = std::make_unique<std::byte[]>(size);
  std::size_t begin = 0, end = 0;
  while (messages > 0) {
    if (size - end < wire) {
      std::memmove(in.get(), in.get() + begin, end - begin);
      end -= begin;
      begin = 0;
    }
    const auto n = ::read(fd, in.get() + end, size - end);
    if (n <= 0) std::abort();
    end += static_cast<std::size_t>(n);
    while (end - begin >= prefix_bytes && messages > 0) {
      std::uint32_t length = 0;
      std::memcpy(&length, in.get() + begin, prefix_bytes);
      if (length != wire - prefix_bytes) std::abort();
      if (end - begin < prefix_bytes + length) break;
      begin += prefix_bytes + length;
      --messages;
    }
    if (begin == end) begin = end = 0;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const std::size_t wire = std::strtoul(argv[1], nullptr, 10);
  const std::size_t per_call = std::strtoul(argv[2], nullptr, 10);
  const std::size_t messages = std::strtoul(argv[3], nullptr, 10);
  if (wire <= prefix_bytes || per_call == 0 || messages == 0) return 2;
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) std::abort();
  char word = 0;
  const pid_t reader = ::fork();
  if (reader == 0) {
    ::close(ends[0]);
    bench::pin(0, 1);
    if (::write(ends[1], &word, 1) != 1) std::abort();
    read_frames(ends[1], wire, messages);
    if (::write(ends[1], &word, 1) != 1) std::abort();
    ::_exit(0);
  }
  ::close(ends[1]);
  bench::pin(0, 0);
  if (::read(ends[0], &word, 1) != 1) std::abort();  // It is there.
  const auto t = bench::clock::now();
  write_frames(ends[0], wire, per_call, messages);
  if (::read(ends[0], &word, 1) != 1) std::abort();  // It has read all.
  const double seconds = bench::us_since(t) / 1e6;
  ::waitpid(reader, nullptr, 0);
  const auto n = static_cast<double>(messages);
  std::printf("%.0f %.4f\n", n / seconds, n * static_cast<double>(wire) / seconds / 1e9);
}
