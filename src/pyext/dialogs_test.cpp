// SPDX-License-Identifier: Apache-2.0
#include "pyext/dialogs.hpp"

#include "coppice/value.hpp"
#include "pyext/guest_actor_for_test.hpp"

namespace coppice::py::guest_tests {
namespace {

// What serves a dialog, by hand: coppice._endpoint and coppice._stream in as few words as they go.
constexpr const char* fake_endpoints = R"(
served = []
def serve(function, kwargs, call_id, caller):
  served.append((function.__name__, kwargs, caller))
  return function(call_id, **kwargs), f'ctx {call_id}', function._coppice_endpoint
def serve_generator(generator, call_id):
  served.append(generator.__name__)
  async def feed():
    async for value in generator: assert _coppice.send(call_id, value) == 0
  return feed(), f'feed {call_id}', 'asyncgen'
for name in ('_endpoint', '_stream'):
  module = types.ModuleType('coppice.' + name)
  module.serve, module.serve_generator = serve, serve_generator
  sys.modules['coppice.' + name] = module
)";
constexpr const char* endpoint_source =
    "import _coppice\n"
    "async def c(call_id, x):\n"
    "  _coppice.start_dialog(call_id, x + 1)\n"
    "  return x + 2\n"
    "c._coppice_endpoint = 'context'\n"
    "async def fails(call_id): raise ValueError('no')\n"
    "fails._coppice_endpoint = 'context'\n"
    "async def g():\n"
    "  yield 1\n"
    "  yield 2\n";

class Dialogs : public GuestActorLoop {
 protected:
  void SetUp() override {
    GuestActorLoop::SetUp();
    exec(fake_endpoints);
    exec("log.clear()");
  }
  // Serves one call, to the end of the actor.
  void serve(const std::string& func, payload kwargs = no_arguments()) {
    send_call("c", func, std::move(kwargs));
    exec(
        "script += [Loop.all, lambda l: _coppice.cancel_self('enough'), lambda l: "
        "_coppice.drain()]");
    actor->serve();
  }
  // What it was answered, in words.
  std::string answers() const {
    std::string all;
    for (const auto& m : parent->received) {
      const std::string* cid = msg::cid_of(m);
      if (!cid || *cid != "c") continue;
      if (const auto* a = std::get_if<msg::start_ack>(&m))
        all += a->functype == msg::call_kind::context ? "context " : "asyncgen ";
      if (const auto* s = std::get_if<msg::started>(&m)) all += "started " + text(s->pld);
      if (const auto* y = std::get_if<msg::yield>(&m)) all += "yield " + text(y->pld);
      if (const auto* r = std::get_if<msg::returned>(&m)) all += "returned " + text(r->pld);
      if (std::get_if<msg::stop>(&m)) all += "stop ";
      if (const auto* e = std::get_if<msg::boxed_error>(&m)) all += e->boxed_type_str + " ";
    }
    return all;
  }
  static std::string text(const payload& p) { return value(p).text() + " "; }
  // A dialog of ours with the parent; the cid it got.
  std::string open_ours() {
    exec(
        "_coppice.set_loop(Loop())\n"
        "d = _coppice.open_dialog(_coppice.parent_link(), 'up', 'f', {'x': 1}, 'T', 'context')");
    for (const auto& m : parent->received)
      if (const auto* s = std::get_if<msg::start>(&m)) return s->cid;
    return "";
  }
  std::string log() { return shown(eval("log")); }
};

TEST_F(Dialogs, AMarkedFunctionIsServedAsAContext) {
  ready_with(endpoint_source);
  serve("c", x_is(1));
  EXPECT_EQ(answers(), "context started 2 returned 3 ");
  EXPECT_EQ(shown(eval("served")), "[('c', {'x': 1}, ('parent', 'parent-uuid'))]");
}

TEST_F(Dialogs, AnErrorOfOneIsItsLastWord) {
  ready_with(endpoint_source);
  serve("fails");
  EXPECT_EQ(answers(), "context ValueError ");
}

TEST_F(Dialogs, ACallThatDoesNotFitIsAnsweredWithoutAnAcknowledgement) {
  ready_with(endpoint_source);
  send_call("c", "c", no_arguments());
  actor->drain();
  EXPECT_EQ(answers(), "TypeError ");
}

TEST_F(Dialogs, AnAsyncGeneratorIsServedAsAStreamWhoseLastWordIsStop) {
  ready_with(endpoint_source);
  serve("g");
  EXPECT_EQ(answers(), "asyncgen yield 1 yield 2 stop ");
}

TEST_F(Dialogs, AnAsyncGeneratorThatIsCutOffSaysStopToo) {
  ready_with(endpoint_source);
  send_call("c", "g", no_arguments());
  exec("script += [lambda l: _coppice.cancel_self('enough'), lambda l: _coppice.drain()]");
  actor->serve();
  EXPECT_EQ(answers(), "asyncgen stop ");
  exec("for coro in loops[0].calls.values(): coro.close()");
}

TEST_F(Dialogs, WhatHappensInOneOfOursGoesToTheLoopWithItsToken) {
  ready_with("");
  const std::string cid = open_ours();
  parent->link->send(msg::start_ack{cid, msg::call_kind::context});
  parent->link->send(msg::started{cid, to_payload(5)});
  parent->link->send(msg::yield{cid, to_payload(6)});
  parent->link->send(msg::yield{cid, to_payload(7)});
  parent->link->send(msg::returned{cid, to_payload(8)});
  actor->drain();
  EXPECT_EQ(log(),
            "[('T', 'started', 5), ('T', 'readable', None), ('T', 'readable', None), "
            "('T', 'writable', None), ('T', 'ended', (8, None))]");
  EXPECT_EQ(shown(eval("[_coppice.take(d) for _ in range(3)]")), "[6, 7, NotImplemented]");
  EXPECT_EQ(shown(eval("_coppice.look_at_dialog(d)")), "('" + cid + "', True, False)");
  exec("_coppice.release_dialog(d)");
  EXPECT_EQ(shown(eval("_coppice.look_at_dialog(d)")), "None");
}

TEST_F(Dialogs, OneThatFailsEndsWithTheException) {
  ready_with("");
  const std::string cid = open_ours();
  exec("_coppice.set_error_factory(lambda kind, fields: KeyError(kind, fields['canceller']))");
  remote_error_info info;
  info.type = info.source_type = "ContextCancelled";
  info.canceller = uid{"somebody", "else"};
  parent->link->send(msg::to_message(info, cid));
  actor->drain();
  EXPECT_EQ(shown(eval("log[-1]")),
            "('T', 'ended', (None, KeyError('remote', ('somebody', 'else'))))");
}

TEST_F(Dialogs, TakeAndSendSayWhenThereIsNothingAndNoRoom) {
  ready_with("");
  const std::string cid = open_ours();
  msg::start_ack ack{cid, msg::call_kind::context};
  parent->link->send(ack);
  parent->link->send(msg::started{cid, payload()});
  actor->drain();
  EXPECT_EQ(shown(eval("_coppice.take(d)")), "Ellipsis");
  EXPECT_EQ(shown(eval("_coppice.send(d, 1)")), "0");
  exec("_coppice.stop_stream(d)");
  EXPECT_EQ(shown(eval("_coppice.send(d, 1)")), "2");
  parent->link->send(msg::returned{cid, payload()});
  EXPECT_EQ(shown(eval("_coppice.send(d, 1)")), "3");
  actor->drain();
}

TEST_F(Dialogs, OneThatIsReleasedBeforeItsEndIsForgotten) {
  ready_with("");
  const std::string cid = open_ours();
  exec("_coppice.release_dialog(d); log.clear()");
  parent->link->send(msg::returned{cid, payload()});
  actor->drain();
  EXPECT_EQ(log(), "[]");
}

TEST_F(Dialogs, ABufferOfNothingIsRefused) {
  ready_with("");
  open_ours();
  exec("try: _coppice.open_stream(d, 0, False)\nexcept ValueError as e: text = str(e)");
  EXPECT_EQ(shown(eval("text")), "\"a stream's buffer holds 1 to 1000000 messages, not 0\"");
}

}  // namespace
}  // namespace coppice::py::guest_tests
