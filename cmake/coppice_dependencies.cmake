# Every third-party library, found here and nowhere else. tools/setup installs them.
find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(fmt REQUIRED)
find_package(OpenSSL REQUIRED)
if(COPPICE_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()
if(COPPICE_BENCH)
  find_library(COPPICE_LIBZMQ zmq REQUIRED)  # a peer to measure beside
  find_library(COPPICE_LIBCAF caf_core REQUIRED)  # likewise
endif()

add_library(coppice_asio INTERFACE)  # Boost.Asio, header only; used in core/reactor.cpp and ipc/
target_link_libraries(coppice_asio INTERFACE Boost::headers Threads::Threads)
target_compile_definitions(coppice_asio INTERFACE BOOST_ASIO_NO_DEPRECATED)
