# SPDX-License-Identifier: Apache-2.0
"""Every program in examples/python prints what the file beside it says, and leaves no process."""
from pathlib import Path

import pytest
from conftest import guests_only

EXAMPLES = Path(__file__).resolve().parents[2] / 'examples' / 'python'


@guests_only
@pytest.mark.parametrize('path', sorted(EXAMPLES.glob('*.py')), ids=lambda path: path.stem)
def test_an_example_prints_what_it_should(begin_path, path):
    outcome = begin_path(path).wait()
    assert outcome.stdout == path.with_suffix('.out').read_text(), outcome
    assert outcome.status == 0 and outcome.stderr == '', outcome
