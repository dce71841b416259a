# SPDX-License-Identifier: Apache-2.0
"""Unit tests of the package run on a fake native half, in this process."""
import asyncio
import gc
import sys
import threading
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import fake_coppice  # noqa: E402

fake_coppice.install()


def pytest_configure(config):
    # A coroutine that was never awaited, an exception that nobody retrieved: failures.
    config.addinivalue_line('filterwarnings', 'error')


@pytest.fixture
def native(caplog):
    """The fake, fresh; afterwards nothing may be left open in it or in the package."""
    import coppice._loop
    import coppice._root

    fake = sys.modules['_coppice']
    fake.tear_down()
    fake.reset()
    threads = threading.active_count()
    yield fake
    fake.loop = None  # What only ends with it would go on while it is collected.
    gc.collect()
    assert not [record.getMessage() for record in caplog.records if record.levelname == 'ERROR']
    assert fake.uid is None or fake.parent is not None, 'a root is still open'
    assert not fake.inbox, 'events that nobody took'
    assert coppice._root._root is None
    assert not coppice._root._blocks
    assert coppice._loop._current is None
    assert threading.active_count() == threads


@pytest.fixture
def run(native):
    """Runs a coroutine function under asyncio.run, with a bound: a hang is a failure."""
    def runner(main, *args):
        async def bounded():
            async with asyncio.timeout(10):
                return await main(*args)
        return asyncio.run(bounded())
    return runner
