# SPDX-License-Identifier: Apache-2.0
"""Tests of compile_db.py: what is clean is remembered exactly as long as nothing changed."""

import json
import tempfile
import unittest
from pathlib import Path

import compile_db
from sources import tree


class CompileDbTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = Path(self.folder.name).resolve()
        (self.root / "build").mkdir()
        self.write("src/core/a.hpp", "int one();\n")
        self.write("src/core/a.cpp", '#include "core/a.hpp"\n')
        self.write("tool.conf", "strict\n")
        self.database("clang++-19 -c a.cpp")
        self.seen = []

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def database(self, command: str) -> None:
        self.write("build/compile_commands.json", json.dumps([{
            "directory": str(self.root), "file": str(self.root / "src/core/a.cpp"),
            "command": command}]))

    def run_check(self, answer: list[str]) -> list[str]:
        """Which files were looked at."""
        self.seen = []

        def look(files, path, entry):
            self.seen += [file.path for file in files]
            return answer, ""

        files = tree(self.root)
        chosen = [files.files["src/core/a.cpp"]]
        self.answer = compile_db.check(files, chosen, self.root / "build",
                                       self.root / "tool.conf", look, jobs=1)
        return self.seen

    def test_a_clean_file_is_looked_at_once(self):
        self.assertEqual(self.run_check([]), ["src/core/a.cpp"])
        self.assertEqual(self.run_check([]), [])

    def test_a_file_with_findings_is_looked_at_until_it_is_clean(self):
        self.run_check(["bad"])
        self.assertEqual(self.answer, ["bad"])
        self.assertEqual(self.run_check([]), ["src/core/a.cpp"])

    def test_a_change_of_an_included_file_of_the_flags_or_of_the_rules_counts(self):
        self.run_check([])
        self.write("src/core/a.hpp", "int two();\n")
        self.assertEqual(self.run_check([]), ["src/core/a.cpp"])
        self.database("clang++-19 -O3 -c a.cpp")
        self.assertEqual(self.run_check([]), ["src/core/a.cpp"])
        self.write("tool.conf", "lax\n")
        self.assertEqual(self.run_check([]), ["src/core/a.cpp"])
        self.assertEqual(self.run_check([]), [])

    def test_files_with_the_same_flags_are_read_as_one_or_alone_if_they_cannot_be(self):
        self.write("src/core/b.cpp", '#include "core/a.hpp"\n')
        self.write("build/compile_commands.json", json.dumps([{
            "directory": str(self.root), "file": str(self.root / f"src/core/{name}.cpp"),
            "command": f"clang++-19 -o {name}.o -c {self.root}/src/core/{name}.cpp"}
            for name in "ab"]))
        files = tree(self.root)
        chosen = [files.files[f"src/core/{name}.cpp"] for name in "ab"]
        read = []

        def look(batch, path, entry):
            read.append(path.read_text())
            self.assertIn(str(path), entry["command"])
            return [], "two of a name" if len(batch) > 1 else ""

        self.assertEqual(compile_db.check(files, chosen, self.root / "build",
                                          self.root / "tool.conf", look, jobs=1), [])
        self.assertEqual(len(read), 3)
        self.assertEqual(read[0], "".join(f'#include "{self.root}/src/core/{name}.cpp"\n'
                                          for name in "ab"))

    def test_a_header_is_read_with_the_flags_of_a_neighbour(self):
        files = tree(self.root)
        known = compile_db.commands(self.root / "build", self.root)
        entry = compile_db.entry_for(files.files["src/core/a.hpp"], known, self.root)
        self.assertIn("clang++-19 -x c++", entry["command"])
        self.assertTrue(entry["file"].endswith("src/core/a.hpp"))


if __name__ == "__main__":
    unittest.main()
