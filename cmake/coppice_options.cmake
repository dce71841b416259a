# What a person may switch, and the flags every target gets.
option(COPPICE_TESTS "Build tests and examples" ON)
option(COPPICE_BENCH "Build the benchmarks" OFF)
option(COPPICE_FUZZ "Build the libFuzzer targets, and all else so that libFuzzer sees its branches (clang)" OFF)
option(COPPICE_PRECOMPILE "Read library headers once for many files: faster from scratch" OFF)
option(COPPICE_WERROR "Warnings are errors (CI)" OFF)
set(COPPICE_SANITIZE "" CACHE STRING "e.g. address,undefined or thread")
set(COPPICE_PYTHON_PREFIX "" CACHE PATH "CPython >= 3.14.1 to build the Python side for; empty: none")
if(COPPICE_PYTHON_PREFIX)
  set(COPPICE_PYTHON ON)
else()
  set(COPPICE_PYTHON OFF)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 16)
  message(FATAL_ERROR "clang ${CMAKE_CXX_COMPILER_VERSION} cannot compile an immovable task<T>; "
                      "use clang 19 (tools/setup installs it) or g++ 12.2 or later")
endif()

add_library(coppice_flags INTERFACE)
target_compile_options(coppice_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -fno-omit-frame-pointer
  $<$<BOOL:${COPPICE_WERROR}>:-Werror>
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety -Wno-undefined-var-template>)
# In a unity build g++ takes every file for a header, which has no types without linkage, and calls
# it a shadow when a local bears the name of another file's type.
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(coppice_flags INTERFACE -Wno-subobject-linkage -Wno-shadow)
endif()
# In a layer, no static with a destructor: it would run while guests and threads may still be there.
set(is_layer $<STREQUAL:$<TARGET_PROPERTY:TYPE>,STATIC_LIBRARY>
  $<STREQUAL:$<TARGET_PROPERTY:TYPE>,OBJECT_LIBRARY>)
list(JOIN is_layer "," is_layer)
target_compile_options(coppice_flags INTERFACE
  $<$<AND:$<CXX_COMPILER_ID:Clang>,$<OR:${is_layer}>>:-Wexit-time-destructors>)
# The last two are said by the libraries, too: a precompiled header needs them to be the same everywhere.
target_compile_definitions(coppice_flags INTERFACE _GNU_SOURCE FMT_SHARED BOOST_ASIO_NO_DEPRECATED)
if(COPPICE_SANITIZE)
  # vptr: asks by pipe() whether memory is readable, so it fails in tests that have no descriptor
  # left; and its symbols are missing where a Python loads our library.
  target_compile_options(coppice_flags INTERFACE
    -fsanitize=${COPPICE_SANITIZE} -fno-sanitize=vptr -fno-sanitize-recover=all)
  target_link_options(coppice_flags INTERFACE -fsanitize=${COPPICE_SANITIZE} -fno-sanitize=vptr)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND COPPICE_SANITIZE MATCHES "address")
    # Shared, so that a plain Python can load it (LD_PRELOAD) and then our library. Not in a libFuzzer
    # program (tests/fuzz): that library is static and wants this one to be, too.
    execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=libclang_rt.asan-x86_64.so
      OUTPUT_VARIABLE asan_runtime OUTPUT_STRIP_TRAILING_WHITESPACE)
    cmake_path(GET asan_runtime PARENT_PATH asan_folder)
    target_link_options(coppice_flags INTERFACE
      $<IF:$<BOOL:$<TARGET_PROPERTY:coppice_libfuzzer>>,-static-libsan,-shared-libasan>
      "LINKER:-rpath,${asan_folder}")
  endif()
endif()
# The same precompiled header from the same files, whenever they were written: for ccache.
if(COPPICE_PRECOMPILE AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(coppice_flags INTERFACE "SHELL:-Xclang -fno-pch-timestamp")
endif()
if(COPPICE_FUZZ)
  target_compile_options(coppice_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
