# SPDX-License-Identifier: Apache-2.0
"""Tests of clang_tidy.py and of our .clang-tidy: the house's names pass, others are found."""

import json
import shutil
import tempfile
import unittest
from pathlib import Path

import clang_tidy


@unittest.skipUnless(shutil.which(clang_tidy.CLANG_TIDY), "clang-tidy-19 is not installed")
class ClangTidyTest(unittest.TestCase):
    def check(self, code: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve()
            (root / "src/core").mkdir(parents=True)
            (root / "build").mkdir()
            file = root / "src/core/sample.cpp"
            file.write_text(code)
            shutil.copy(Path(__file__).resolve().parent.parent / ".clang-tidy", root)
            (root / "build/compile_commands.json").write_text(json.dumps([{
                "directory": str(root), "file": str(file),
                "command": f"clang++-19 -std=c++20 -c {file}"}]))
            return "\n".join(clang_tidy.check(root, root / "build"))

    def test_the_names_of_the_house_pass(self):
        self.assertEqual(self.check(
            "template <class Value> class open_file {\n public:\n"
            "  int number() const { return number_; }\n private:\n  int number_ = 0;\n};\n"
            "enum class colour { red };\nusing file = open_file<int>;\n"
            '#define COPPICE_X 1\nextern "C" void* PyInit__coppice() { return nullptr; }\n'), "")

    def test_other_names_are_found(self):
        self.assertIn("src/core/sample.cpp:1: invalid case style for class 'OpenFile'",
                      self.check("class OpenFile {};\n"))
        self.assertIn("'number'", self.check("class a {\n  int number;\n};\n"))
        self.assertIn("'doIt'", self.check("void doIt() {}\n"))

    def test_use_after_move_is_found(self):
        self.assertIn("use-after-move", self.check(
            "#include <string>\n#include <utility>\nvoid take(std::string);\n"
            "char f(std::string s) {\n  take(std::move(s));\n  return s[0];\n}\n"))

    def test_a_file_that_does_not_compile_is_a_finding(self):
        self.assertIn("sample.cpp", self.check("nonsense;\n"))


if __name__ == "__main__":
    unittest.main()
