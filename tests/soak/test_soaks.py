# SPDX-License-Identifier: Apache-2.0
"""The soaks in a small size, so that they cannot rot; `make soak` runs them in full."""
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SMALL = {
    'interrupts': 'interrupts --calls 1500',
    'interrupts_shared_gil': 'interrupts --calls 500 --gil shared',
    'cycles': 'cycles --cycles 60 --interrupted 12 --growth-max 0',
    'forced': 'forced --stops 4 --left-max 0',
    'forced_placed': 'forced --stops 2 --left-max 0 --then other_process',
    'crowd': 'crowd --guests 40',
    'crowd_short_of_fds': 'crowd --guests 100 --at-most-fds 60',
    'crowd_short_of_memory': 'crowd --guests 60 --at-most-mb 1500',
}


@pytest.mark.parametrize('name', SMALL)
def test_a_small_soak_keeps_every_promise(native_half, begin_program, name, tmp_path):
    script, *options = SMALL[name].split()
    figures = tmp_path / 'figures.json'
    path = [*filter(None, [os.environ.get('PYTHONPATH')]), str(HERE.parent), str(HERE)]
    outcome = begin_program([sys.executable, HERE / f'{script}.py', *options, '--out', figures],
                            seconds=60, PYTHONPATH=os.pathsep.join(path)).wait()
    if outcome.status != 0 or not outcome.is_clean:
        pytest.fail(repr(outcome))
    assert figures.exists()
