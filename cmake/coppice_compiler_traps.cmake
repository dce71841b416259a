# Says in one line if this compiler has the coroutine traps of g++ 12, and stops if it has worse.
# The checks of `make check` keep our sources clear of them; a user's own coroutines need the same care.
if(DEFINED COPPICE_COMPILER_TRAPS_FOUND)
  return()
endif()

# An await in a condition, in a coroutine without any variable: the body is dropped without a word.
set(prelude [[
#include <coroutine>
struct task {
  struct promise_type {
    task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() {}
  };
  std::coroutine_handle<promise_type> frame;
  void run() { frame.resume(); frame.destroy(); }
};
struct ready {
  bool await_ready() { return true; }
  void await_suspend(std::coroutine_handle<>) {}
  bool await_resume() { return true; }
};
int count = 0;
]])
set(dropped_body [[
task g() { if (co_await ready()) ++count; }
int main() { g().run(); return count == 1 ? 0 : 1; }
]])
# A temporary made by aggregate braces inside a co_await expression: destroyed twice.
set(destroyed_twice [[
struct counted {
  counted() { ++count; }
  counted(const counted&) { ++count; }
  ~counted() { --count; }
};
struct options { counted c; };
ready f(const options&) { return {}; }
task g() { co_await f({}); }
int main() { g().run(); return count == 0 ? 0 : 1; }
]])

set(found "")
foreach(trap dropped_body destroyed_twice)
  set(file ${CMAKE_BINARY_DIR}/CMakeFiles/coppice_${trap}.cpp)
  file(WRITE ${file} "${prelude}${${trap}}")
  try_run(status compiled ${CMAKE_BINARY_DIR}/CMakeFiles/coppice_traps ${file}
    CMAKE_FLAGS -DCMAKE_CXX_STANDARD=20 -DCMAKE_CXX_STANDARD_REQUIRED=ON)
  if(NOT compiled)
    message(FATAL_ERROR "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION} cannot compile a small "
                        "coroutine; use clang 19 (tools/setup installs it) or g++ 12.2 or later")
  elseif(NOT status EQUAL 0)
    list(APPEND found ${trap})
  endif()
  unset(status CACHE)
endforeach()
if(found)
  list(JOIN found ", " text)
  message(STATUS "Coppice: this compiler has coroutine traps (${text}): name what you await, never "
                 "await in a condition (STYLE.md, \"Coroutines\"); clang 19 has none")
endif()
set(COPPICE_COMPILER_TRAPS_FOUND "${found}" CACHE INTERNAL "coroutine traps of this compiler")
