// SPDX-License-Identifier: Apache-2.0
// A tree whose registrar wants certificates, and its children, who have none.
#include <cstdlib>
#include <filesystem>

#include "ipc/certificate_for_test.hpp"
#include "tests/conformance/kit.hpp"

namespace coppice::conformance {
namespace {

class TlsTree : public testing::TestWithParam<kind> {
 protected:
  TlsTree() {
    char name[] = "/tmp/cpc-XXXXXX";
    folder_ = ::mkdtemp(name);
    const ipc::test::identity ca("ca", ""), me("me", "IP:127.0.0.1", &ca);
    files.ca_file = ca.write_certificate(folder_ + "/ca.pem");
    files.certificate_file = me.write_certificate(folder_ + "/me.pem");
    files.key_file = me.write_key(folder_ + "/me.key");
  }
  ~TlsTree() override { std::filesystem::remove_all(folder_); }
  void SetUp() override { skip_unless_built(GetParam()); }
  tls_files files;

 private:
  std::string folder_;
};
std::vector<kind> kinds_without_tcp() {  // See transport_settings.
  std::vector<kind> out = all_kinds();
  std::erase_if(out, [](const kind& k) { return k.transport == "tcp"; });
  return out;
}
INSTANTIATE_TEST_SUITE_P(, TlsTree, testing::ValuesIn(kinds_without_tcp()), kind_name);

TEST_P(TlsTree, ChildrenAreRegisteredAndFoundThoughTheyHaveNoCertificates) {
  bool found = false;
  const int status = run_tree(
      [&](actor& self) -> task<> {
        auto inside = [&](actor_nursery& an) -> task<> {
          co_await an.start_actor("subject", options_for(GetParam()));
          found_actor subject = co_await find_actor(self, "subject");
          found = bool(subject);
        };
        co_await open_nursery(self, inside);
      },
      {.tls = files}, {"('127.0.0.1', 0)"});
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace coppice::conformance
