// SPDX-License-Identifier: Apache-2.0
// What others need for a stream: bench_stream_zmq BYTES MESSAGES prints messages/s and GB/s.
// ZeroMQ PUSH to PULL over ipc, in two processes on two processors, each with its I/O thread.
#include <sys/wait.h>
#include <zmq.h>

#include <memory>

#include "bench/bench.hpp"

namespace {

void check(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "%s: %s\n", what, zmq_strerror(zmq_errno()));
  std::exit(1);
}

class socket_of_its_own {  // And a context: each process has one of each.
 public:
  explicit socket_of_its_own(int type)
      : context_(zmq_ctx_new()), socket_(zmq_socket(context_, type)) {
    check(socket_ != nullptr, "zmq_socket");
  }
  socket_of_its_own(const socket_of_its_own&) = delete;
  ~socket_of_its_own() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }
  void* get() const { return socket_; }

 private:
  void* context_;
  void* socket_;
};

// One more message than is counted: the first says that the two are connected.
void pull(const std::string& address, std::size_t messages, int told) {
  bench::pin(0, 1);
  const socket_of_its_own in(ZMQ_PULL);
  check(zmq_bind(in.get(), address.c_str()) == 0, "zmq_bind");
  const char word = 0;
  for (std::size_t i = 0; i <= messages; ++i) {
    zmq_msg_t m;
    zmq_msg_init(&m);
    check(zmq_msg_recv(&m, in.get(), 0) >= 0, "zmq_msg_recv");
    zmq_msg_close(&m);
    if (i == 0 || i == messages) check(::write(told, &word, 1) == 1, "write");
  }
}

double push(const std::string& address, std::size_t bytes, std::size_t messages, int told) {
  bench::pin(0, 0);
  const socket_of_its_own out(ZMQ_PUSH);
  check(zmq_connect(out.get(), address.c_str()) == 0, "zmq_connect");
  const auto body = std::make_unique<char[]>(bytes);
  char word = 0;
  const auto send = [&] { check(zmq_send(out.get(), body.get(), bytes, 0) >= 0, "zmq_send"); };
  send();
  check(::read(told, &word, 1) == 1, "read");
  const auto t = bench::clock::now();
  for (std::size_t i = 0; i < messages; ++i) send();
  check(::read(told, &word, 1) == 1, "read");
  return bench::us_since(t) / 1e6;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::size_t bytes = std::strtoul(argv[1], nullptr, 10);
  const std::size_t messages = std::strtoul(argv[2], nullptr, 10);
  if (messages == 0) return 2;
  char folder[] = "/tmp/coppice-bench-XXXXXX";
  check(::mkdtemp(folder) != nullptr, "mkdtemp");
  const std::string path = std::string(folder) + "/zmq", address = "ipc://" + path;
  int told[2];
  check(::pipe(told) == 0, "pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    pull(address, messages, told[1]);
    ::_exit(0);
  }
  const double seconds = push(address, bytes, messages, told[0]);
  ::waitpid(child, nullptr, 0);
  ::unlink(path.c_str());
  ::rmdir(folder);
  const auto n = static_cast<double>(messages);
  std::printf("%.0f %.4f\n", n / seconds, n * static_cast<double>(bytes) / seconds / 1e9);
}
