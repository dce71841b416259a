// SPDX-License-Identifier: Apache-2.0
// Certificates for tests of TLS. Needs OpenSSL::Crypto.
#pragma once

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <memory>
#include <string>

namespace coppice::ipc::test {

/// A certificate and its key, signed by somebody: itself, if nobody is given.
struct identity {
  identity(const std::string& name, const std::string& names, const identity* by = nullptr)
      : key(::EVP_EC_gen("P-256"), &::EVP_PKEY_free), certificate(::X509_new(), &::X509_free) {
    X509* x = certificate.get();
    ::X509_set_version(x, X509_VERSION_3);
    static long serial = 0;
    ::ASN1_INTEGER_set(::X509_get_serialNumber(x), ++serial);
    ::X509_gmtime_adj(::X509_getm_notBefore(x), -3600);
    ::X509_gmtime_adj(::X509_getm_notAfter(x), 3600);
    ::X509_set_pubkey(x, key.get());
    ::X509_NAME_add_entry_by_txt(::X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                 reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509* issuer = by ? by->certificate.get() : x;
    ::X509_set_issuer_name(x, ::X509_get_subject_name(issuer));
    add(NID_basic_constraints, by ? "critical,CA:FALSE" : "critical,CA:TRUE", issuer);
    if (!names.empty()) add(NID_subject_alt_name, names.c_str(), issuer);
    EXPECT_GT(::X509_sign(x, (by ? by->key : key).get(), ::EVP_sha256()), 0);
  }
  void add(int what, const char* value, X509* issuer) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate.get(), nullptr, nullptr, 0);
    X509_EXTENSION* e = ::X509V3_EXT_conf_nid(nullptr, &context, what, value);
    EXPECT_NE(e, nullptr) << value;
    ::X509_add_ext(certificate.get(), e, -1);
    ::X509_EXTENSION_free(e);
  }
  /// As PEM; gives the path.
  std::string write_certificate(const std::string& path) const {
    std::FILE* file = std::fopen(path.c_str(), "w");
    ::PEM_write_X509(file, certificate.get());
    std::fclose(file);
    return path;
  }
  std::string write_key(const std::string& path) const {
    std::FILE* file = std::fopen(path.c_str(), "w");
    ::PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
    return path;
  }

  std::unique_ptr<EVP_PKEY, decltype(&::EVP_PKEY_free)> key;
  std::unique_ptr<X509, decltype(&::X509_free)> certificate;
};

}  // namespace coppice::ipc::test
