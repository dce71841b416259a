// SPDX-License-Identifier: Apache-2.0
// An actor whose code is Python: what its port delivers becomes calls, and what they say goes back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "port/guest_port.hpp"
#include "pyext/errors.hpp"
#include "pyext/ref.hpp"

namespace coppice::py {

/// How the thread that runs an actor's Python code can be struck: see guest_side, which is the
/// guests' one. The main interpreter of a process child has its own.
class call_fence {
 public:
  virtual ~call_fence() = default;
  virtual void begin_call(std::uint64_t id) noexcept = 0;
  virtual void end_call(std::uint64_t id) noexcept = 0;
  /// Take no further work: the actor is being interrupted or forced as a whole.
  virtual bool stopping() const noexcept = 0;
};

struct guest_actor_options {
  std::optional<uid> parent;  // None: a root.
  /// Appended to sys.path if it is not there: the folder that holds the package `coppice`, for
  /// hosts that are no Python programs. Empty: nothing.
  std::string package_path;
  // A script under `coppice run`: Python sees the actor once it opens a root.
  bool root_script = false;
};

/// The Python half of one actor, whatever interpreter it lives in: a guest, the main interpreter of
/// a process child, or that of a Python program whose root it is. Takes events from the port on its
/// own thread and acts on them:
///
/// - `spec_arrived`: sys.path, the parent's main script as `__mp_main__`, the modules to expose;
///   then the port is told that it is ready, or why not.
/// - `call_started`: looks the function up among the exposed modules and calls it. A plain function
///   runs here and now, inside the fence. A coroutine brings the event loop up (`coppice._loop`)
///   and runs there. Anything that it raises travels back; nothing of it can end the actor or the
///   process.
/// - `cancel_requested`: cancels what runs on the loop, lets it unwind, and ends.
/// - `reply_arrived`, `child_changed`: to the loop's `settle`, or the callback of start_child.
/// - Functions that `coppice.context` marked, and async generators, are dialogs: `_endpoint` and
///   `_stream` make the coroutine that serves one, and its events go to the loop's `dialog`.
///
/// # Why not Python code?
/// A guest whose endpoints are plain functions imports nothing but the user's modules, and starts
/// in the time that its interpreter takes.
///
/// Owner: what runs the interpreter (a guest's body, the root), which outlives the interpreter. Its
/// end touches no Python; whoever can still attach calls release() before. Thread: the actor's own,
/// attached.
class guest_actor {
 public:
  guest_actor(std::shared_ptr<port::guest_port> port, call_fence& fence,
              guest_actor_options options);
  guest_actor(const guest_actor&) = delete;
  guest_actor& operator=(const guest_actor&) = delete;

  /// The actor of the interpreter that the calling thread is attached to, or null.
  static guest_actor* current() noexcept;
  bool on_own_thread() const noexcept;

  /// Makes this the interpreter's actor, and `_coppice` importable in it without any file. False:
  /// an exception is set.
  bool install();
  /// Serves until the actor is told to end, or is struck. REQUIRES: install().
  void serve();
  /// Drops every Python object and is nobody's actor any more. What was still served is answered.
  void release();

  /// Why it did not end well; empty: it did.
  const std::string& failure() const noexcept { return failure_; }
  /// Does Python see this actor?
  bool is_open() const noexcept { return open_; }
  void set_open(bool open) noexcept { open_ = open; }
  bool is_root_script() const noexcept { return options_.root_script; }

  // --- what the functions of `_coppice` do
  // -----------------------------------------------------------
  const std::shared_ptr<port::guest_port>& port() const noexcept { return port_; }
  const std::optional<uid>& parent() const noexcept { return options_.parent; }
  error_bridge& errors() noexcept { return errors_; }
  const payload& runtime_vars() const noexcept { return runtime_vars_; }

  bool set_loop(PyObject* loop);  // None or null: there is none any more.
  /// Takes every event and acts on it, then arms the port's wake-up.
  void drain();
  port::request_id call(const ipc::link_ptr& to, const std::string& ns, const std::string& func,
                        payload kwargs, ref token);
  /// What settles `token` will arrive as the reply to this request, from wherever.
  void expect(port::request_id id, ref token, std::string peer);
  void forget(port::request_id id);
  /// Makes a module callable. False: an exception is set.
  bool expose(const std::string& name, const std::string& path);
  /// A dialog of ours: everything that happens in it goes to the loop's `dialog`, with this token.
  port::request_id open_dialog(const ipc::link_ptr& to, const std::string& ns,
                               const std::string& func, payload kwargs, ref token,
                               msg::call_kind kind, port::stream_window window);
  /// Nobody uses it any more; if its reply has not come, it will be dropped.
  void release(port::dialog_id id);
  /// A spawned coroutine has ended. A second time, or for a call that is no coroutine: nothing.
  void finish(port::call_id id, PyObject* value, PyObject* error);
  void watch_child(const std::string& uuid, ref on_event);
  void unwatch_child(const std::string& uuid);

 private:
  struct ready_call {  // Trivial: a forced stop drops the frames it lies in.
    port::call_id id;
    PyObject* function;  // Owned.
    PyObject* kwargs;    // Owned; null: none.
    PyObject* caller;    // Owned; null: no dialog.
  };
  struct coroutine {
    std::string name;
    std::string cancelled = {};  // Why, once its caller cancelled it.
    msg::call_kind kind = msg::call_kind::asyncfunc;
    PyObject* token = nullptr;  // Owned; a dialog's.
  };
  struct open_request {
    PyObject* token;  // Owned.
    std::string peer;
    bool is_dialog = false;
  };

  void act(port::spec_arrived&& e);
  void say_ready(std::vector<msg::wire_address> registrars);
  void act(port::call_started&& e);
  void act(port::call_cancelled&& e);
  void act(port::dialog_changed&& e);
  void act(port::reply_arrived&& e);
  void act(port::cancel_requested&& e);
  void act(port::child_changed&& e);

  std::optional<ready_call> prepare(const port::call_started& e);
  void run(ready_call call);
  void refuse(port::call_id id, const char* type, const std::string& message);
  void refuse_cancelled(port::call_id id, msg::call_kind kind, const std::string& why);
  void finish_value(port::call_id id, msg::call_kind kind, PyObject* value);
  void finish_error(port::call_id id, msg::call_kind kind, ref error, bool cancelled,
                    const std::string& why);
  PyObject* call_function(const ready_call& call);
  PyObject* serve_generator(port::call_id id, PyObject* generator);
  void start_coroutine(port::call_id id, ref coro, coroutine how);
  void start_dialog(port::call_id id, PyObject* served, std::string name);
  void tell_dialog(PyObject* token, const char* what, ref value);
  void close_coroutine(PyObject* coro);
  void spawn_pending();
  bool bring_up_loop();
  void run_loop();
  void tell_loop_to_end();
  void leave_if_forked();
  void leave_loop();
  void answer_the_rest();
  void complain(PyObject* about);  // The pending exception goes to sys.unraisablehook.

  const std::shared_ptr<port::guest_port> port_;
  call_fence& fence_;
  const guest_actor_options options_;
  error_bridge errors_;
  payload runtime_vars_;
  std::string loop_name_ = "asyncio";

  std::unordered_map<std::string, PyObject*> modules_;  // Exposed ones by name. Owned.
  std::unordered_map<port::request_id, open_request> requests_;
  std::unordered_map<std::string, PyObject*> children_;  // on_event by uuid. Owned.
  std::unordered_map<port::call_id, coroutine> coroutines_;
  std::vector<std::pair<port::call_id, PyObject*>>
      pending_;  // Coroutines that wait for a loop. Owned.

  slot loop_, spawn_, settle_, dialog_;  // The Loop, and three of its methods, bound.
  PyInterpreterState* interpreter_ = nullptr;
  bool open_ = true;
  bool serving_ = false;    // In serve(): the loop is ours to bring up and to run.
  bool loop_runs_ = false;  // In run_loop(), or it is a root's, which runs by itself.
  bool ending_ = false;     // Told to end.
  bool done_ = false;       // serve() is to return.
  std::string why_;         // It ends.
  std::string failure_;
  std::optional<remote_error_info> start_failure_;  // Why nothing here can be called.
};

}  // namespace coppice::py
