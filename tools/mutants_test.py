# SPDX-License-Identifier: Apache-2.0
"""Tests of mutants.py: what it refuses, and that a mutant nobody notices is a failure."""

import tempfile
import unittest
import unittest.mock
from pathlib import Path

import mutants
from report import FAILED, PASSED

ENTRY = """
[[mutant]]
name = "{name}"
breaks = "it"
file = "src/core/a.cpp"
find = "return 1;"
replace = "return 2;"
caught_by = "A.IsOne"
"""


class fake_shop:
    """Says which tests pass, without compiling anything."""

    def __init__(self, root: Path, passing: bool, error: str = "") -> None:
        self.root, self.passing, self.error = root, passing, error
        self.files = mutants.tree(root)

    def program(self, name, test_file, changed, text):
        if self.error:
            raise mutants.mutant_error(self.error)
        return Path(name)

    def passes(self, program, test):
        return self.passing


class MutantsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve()
        self.write("src/core/a.cpp", "int one() { return 1; }\n")
        self.write("src/core/a_test.cpp", "TEST(A, IsOne) {\n}\n")
        self.write("tests/mutants/README.md", f"About.\n{mutants.BEGIN}{mutants.END}")
        self.write("tests/mutants/a.toml", ENTRY.format(name="two"))

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def one(self) -> mutants.mutant:
        return mutants.read(self.root)[0]

    def test_a_mutant_is_the_file_with_its_text_replaced(self):
        self.assertEqual(self.one().text(self.root), "int one() { return 2; }\n")

    def test_a_text_that_is_not_there_exactly_once_is_refused(self):
        for text in ("int one() { return 7; }\n", "return 1; return 1;\n"):
            self.write("src/core/a.cpp", text)
            with self.assertRaisesRegex(mutants.mutant_error, "has to be there once"):
                self.one().text(self.root)

    def test_missing_keys_and_names_used_twice_are_refused(self):
        self.write("tests/mutants/b.toml", ENTRY.format(name="two"))
        with self.assertRaisesRegex(mutants.mutant_error, "two mutants 'two'"):
            mutants.read(self.root)
        self.write("tests/mutants/b.toml", '[[mutant]]\nname = "half"\n')
        with self.assertRaisesRegex(mutants.mutant_error, "'half' has"):
            mutants.read(self.root)

    def test_a_test_that_does_not_exist_is_refused(self):
        files = mutants.tree(self.root)
        self.assertEqual(mutants.file_of("A.IsOne", files), "src/core/a_test.cpp")
        with self.assertRaisesRegex(mutants.mutant_error, "no test A.IsTwo"):
            mutants.file_of("A.IsTwo", files)

    def test_a_mutant_that_its_test_does_not_notice_fails_and_so_does_one_that_is_no_program(self):
        self.assertEqual(mutants.catch(fake_shop(self.root, passing=False), self.one()).outcome,
                         PASSED)
        survived = mutants.catch(fake_shop(self.root, passing=True), self.one())
        self.assertEqual((survived.outcome, survived.detail),
                         (FAILED, "A.IsOne passes although it"))
        broken = mutants.catch(fake_shop(self.root, False, "does not compile"), self.one())
        self.assertEqual((broken.outcome, broken.detail), (FAILED, "does not compile"))

    def test_a_test_that_fails_without_a_mutant_is_a_failure(self):
        found = mutants.original(fake_shop(self.root, passing=False), "a_test.cpp", ["A.IsOne"])
        self.assertEqual((found.outcome, found.detail), (FAILED, "A.IsOne"))

    def test_a_hang_is_a_failure_of_the_test(self):
        self.write("hang", "#!/bin/sh\nexec sleep 60\n")
        (self.root / "hang").chmod(0o755)
        shop = mutants.workshop.__new__(mutants.workshop)
        with unittest.mock.patch.object(mutants, "SECONDS", 0.1):
            self.assertFalse(shop.passes(self.root / "hang", "A.IsOne"))

    def test_the_shares_of_successive_commits_hold_every_mutant_once(self):
        all_of_them = list(range(10))
        shares = [mutants.share(all_of_them, 100 + n) for n in range(mutants.SHARES)]
        self.assertEqual(sorted(sum(shares, [])), all_of_them)

    def test_the_readme_keeps_what_stands_around_its_table(self):
        before, inside, after = mutants.readme(self.root)
        self.assertEqual((before, inside, after), (f"About.\n{mutants.BEGIN}", "", mutants.END))
        self.assertIn("| `a` two | it | A.IsOne |", mutants.table(mutants.read(self.root)))
        self.write("tests/mutants/README.md", "no table\n")
        with self.assertRaisesRegex(mutants.mutant_error, "has lost the lines"):
            mutants.readme(self.root)


if __name__ == "__main__":
    unittest.main()
