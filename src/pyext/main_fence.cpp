// SPDX-License-Identifier: Apache-2.0
#include "pyext/main_fence.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "pyhost/guest_side.hpp"

namespace coppice::py {

namespace {

constexpr const char* capsule_name = "coppice.main_fence";

main_fence* fence_of(PyObject* self) {
  return static_cast<main_fence*>(PyCapsule_GetPointer(self, capsule_name));
}

PyObject* ignore(PyObject*, PyObject*) { Py_RETURN_NONE; }
PyObject* strike_handler(PyObject* self, PyObject*) {
  main_fence* fence = fence_of(self);
  return fence && fence->on_strike() ? Py_NewRef(Py_None) : nullptr;
}
PyObject* terminate_handler(PyObject* self, PyObject*) {
  main_fence* fence = fence_of(self);
  return fence && fence->on_terminate() ? Py_NewRef(Py_None) : nullptr;
}

// The hooks of os.fork(). What is ours alone must not be the child's, and a signal that comes
// before it has been taken away waits until then: CPython would drop it.
thread_local sigset_t mask_before_fork;

PyObject* before_fork(PyObject*, PyObject*) {
  sigset_t ours;
  ::sigemptyset(&ours);
  ::sigaddset(&ours, SIGTERM);
  ::sigaddset(&ours, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &ours, &mask_before_fork);
  Py_RETURN_NONE;
}
PyObject* after_fork_in_parent(PyObject*, PyObject*) {
  ::pthread_sigmask(SIG_SETMASK, &mask_before_fork, nullptr);
  Py_RETURN_NONE;
}
// A handler that the program put in our place stays.
PyObject* after_fork_in_child(PyObject*, PyObject*) {
  const ref module = ref::take(PyImport_ImportModule("_signal"));
  const std::pair<int, PyCFunction> handlers[] = {{SIGTERM, terminate_handler}, {SIGINT, ignore}};
  for (const auto& [number, ours] : handlers) {
    const ref now =
        ref::take(module ? PyObject_CallMethod(module.get(), "getsignal", "i", number) : nullptr);
    if (now && PyCFunction_Check(now.get()) && PyCFunction_GetFunction(now.get()) == ours)
      (void)ref::take(PyObject_CallMethod(module.get(), "signal", "ii", number, 0));  // SIG_DFL
    PyErr_Clear();
  }
  ::pthread_sigmask(SIG_SETMASK, &mask_before_fork, nullptr);
  Py_RETURN_NONE;
}

PyMethodDef fork_definitions[] = {
    {"before", before_fork, METH_NOARGS, nullptr},
    {"after_in_parent", after_fork_in_parent, METH_NOARGS, nullptr},
    {"after_in_child", after_fork_in_child, METH_NOARGS, nullptr},
};
PyMethodDef ignore_definition = {"ignore_sigint", ignore, METH_VARARGS, nullptr};
PyMethodDef strike_definition = {"interrupt_call", strike_handler, METH_VARARGS, nullptr};
PyMethodDef terminate_definition = {"end_actor", terminate_handler, METH_VARARGS, nullptr};

bool handle(int number, PyMethodDef& definition, PyObject* capsule) {
  const ref module = ref::take(PyImport_ImportModule("_signal"));
  const ref function = ref::take(PyCFunction_New(&definition, capsule));
  if (!module || !function) return false;
  return static_cast<bool>(
      ref::take(PyObject_CallMethod(module.get(), "signal", "iO", number, function.get())));
}

bool handle_forks() {
  const ref hooks = ref::take(PyDict_New());
  for (PyMethodDef& hook : fork_definitions) {
    const ref function = ref::take(PyCFunction_New(&hook, nullptr));
    if (!hooks || !function || PyDict_SetItemString(hooks.get(), hook.ml_name, function.get()) != 0)
      return false;
  }
  const ref module = ref::take(PyImport_ImportModule("posix"));
  const ref place =
      ref::take(module ? PyObject_GetAttrString(module.get(), "register_at_fork") : nullptr);
  const ref none = ref::take(PyTuple_New(0));
  return place && none && ref::take(PyObject_Call(place.get(), none.get(), hooks.get()));
}

int free_realtime_signal() {
  for (int number = SIGRTMIN + 5; number <= SIGRTMAX; ++number) {
    struct sigaction present{};
    if (::sigaction(number, nullptr, &present) == 0 && !(present.sa_flags & SA_SIGINFO) &&
        present.sa_handler == SIG_DFL)
      return number;
  }
  return 0;
}

bool raise_interrupted() {
  if (PyObject* type = interrupted_type()) PyErr_SetNone(type);
  return false;
}

}  // namespace

bool main_fence::install() {
  // Handlers keep the capsule, and that keeps us, until others take their place or CPython ends.
  auto self = std::make_unique<std::shared_ptr<main_fence>>(shared_from_this());
  const ref capsule = ref::take(PyCapsule_New(this, capsule_name, [](PyObject* c) {
    // tidy: allow new: the capsule is the owner
    delete static_cast<std::shared_ptr<main_fence>*>(PyCapsule_GetContext(c));
  }));
  if (!capsule || PyCapsule_SetContext(capsule.get(), self.get()) != 0) return false;
  (void)self.release();  // The capsule's from here on.
  signal_ = free_realtime_signal();
  if (signal_ != 0 && !handle(signal_, strike_definition, capsule.get())) return false;
  return handle_forks() && handle(SIGTERM, terminate_definition, capsule.get()) &&
         handle(SIGINT, ignore_definition, capsule.get());
}

void main_fence::give_back_sigterm() noexcept { ::signal(SIGTERM, SIG_DFL); }

void main_fence::end_call(std::uint64_t id) noexcept {
  innermost_ = 0;
  std::uint64_t mine = id;
  wanted_.compare_exchange_strong(mine, 0);
  // A handler that is due finds nothing to do: it looks at both numbers.
}

bool main_fence::on_strike() {
  std::uint64_t call = innermost_;
  if (call == 0 || !wanted_.compare_exchange_strong(call, 0)) return true;
  return raise_interrupted();
}

bool main_fence::on_terminate() {
  port_->cancel("SIGTERM");
  return raise_interrupted();
}

void main_fence::send(std::uint64_t id, duration gap) {
  if (wanted_ != id || !again_) return;
  ::pthread_kill(main_thread_, signal_);
  again_->set(gap, [this, id, gap] {
    send(id, std::min<duration>(2 * gap, std::chrono::milliseconds(100)));
  });
}

void main_fence::forget_loop() { again_.reset(); }

void main_fence::strike(const std::shared_ptr<core::loop>& control, std::uint64_t id) {
  if (signal_ == 0 || innermost_ != id) return;
  wanted_ = id;
  if (innermost_ != id) {  // It ended meanwhile, before it could see the line above.
    std::uint64_t mine = id;
    wanted_.compare_exchange_strong(mine, 0);
    return;
  }
  ::pthread_kill(main_thread_, signal_);
  control->post([me = shared_from_this(), loop = control.get(), id] {
    if (!me->again_) me->again_.emplace(*loop);
    me->send(id, std::chrono::milliseconds(2));
  });
}

}  // namespace coppice::py
