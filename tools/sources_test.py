# SPDX-License-Identifier: Apache-2.0
"""Tests of sources.py: what is code, where functions begin and end, what is included."""

import tempfile
import textwrap
import unittest
from pathlib import Path

import sources


def of(text: str, name: str = "a.cpp") -> sources.source_file:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_text(text)
        return sources.source_file(Path(folder), name)


def functions(text: str) -> list[tuple[int, int]]:
    return [(one.first, one.last) for one in of(textwrap.dedent(text).lstrip("\n")).functions]


class CodeTest(unittest.TestCase):
    def test_comments_and_literals_are_blank_and_everything_keeps_its_place(self):
        text = 'a; // b "\n"c//d" /* e\n f */ g \'"\' h R"x(i " )x" j 1\'000 u8"k"\n'
        code = of(text).code
        self.assertEqual(len(code), len(text))
        for gone in "bcdefik":
            self.assertNotIn(gone, code, gone)
        for kept in ("a;", " g ", " h ", " j ", "1'000"):
            self.assertIn(kept, code)

    def test_includes_in_comments_do_not_count(self):
        self.assertEqual(of('#include "a.hpp"\n// #include "b.hpp"\n# include <c>\n').includes,
                         [(1, "a.hpp", True), (3, "c", False)])


class FunctionTest(unittest.TestCase):
    def test_functions_of_all_kinds_are_found(self):
        self.assertEqual(functions("""
            namespace a::b {
            struct [[nodiscard]] s : base {
              s() : x_{1}, y_(2) {
              }
              explicit operator bool() const noexcept { return x_; }
              int x_ = 0;
              std::vector<int> v_{1, 2};
            };
            template <class T>
            auto f(T t, options o = {}) -> std::pair<T, T> {
              if (t) {
              }
              auto l = [] { return 1; };
            }
            extern "C" {
            void g() try {
            } catch (...) {
            }
            }
            enum class colour { red };
            TEST(A, B) {
            }
            }  // namespace a::b
            """), [(3, 4), (5, 5), (9, 14), (16, 18), (21, 22)])

    def test_a_brace_in_a_macro_or_a_literal_misleads_nobody(self):
        self.assertEqual(functions("""
            #define OPEN(x) \\
              void x() {
            const char* s = "{";
            void f() {
            }
            """), [(4, 5)])


class AllowanceTest(unittest.TestCase):
    def test_what_an_exception_speaks_of(self):
        file = of("x;  // tidy: allow a-rule: some good reason\n"
                  "// tidy: allow b-rule: another good reason\n// more\ny;\n"
                  's = "// tidy: allow c-rule: not a comment";\n')
        self.assertEqual([(one.rule, one.covers, one.reason) for one in file.allowances],
                         [("a-rule", 1, "some good reason"), ("b-rule", 4, "another good reason")])


if __name__ == "__main__":
    unittest.main()
