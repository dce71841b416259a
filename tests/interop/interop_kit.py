# SPDX-License-Identifier: Apache-2.0
"""What the tests of this folder share. Fixtures are imported by name: one conftest.py is enough."""
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from peer import RemoteError

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
CHILD = Path(os.environ.get('COPPICE_BUILD_DIR', REPOSITORY / 'build')) / 'python/coppice/_child.py'


# Of the Coppice side; its own start method does not matter where it starts no guest. Not those of
# `conftest`: beside the tests of the Python half that name means another file.
both_loops = pytest.mark.parametrize('loop', ['asyncio', 'trio'], indirect=True)
guests_only = pytest.mark.parametrize('start_method', ['subint'], indirect=True)
every_home = pytest.mark.parametrize(
    'start_method', ['subint', 'subint_forkserver', 'forkserver', 'process'], indirect=True)


@pytest.fixture
def folder():
    """For sockets: tmp_path is too long a name for them."""
    path = tempfile.mkdtemp(prefix='cpc-')
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=['tcp', 'uds'])
def transport(request):
    return request.param


def error_of(function, *arguments, **how):
    """The Error with which the peer answered."""
    with pytest.raises(RemoteError) as found:
        function(*arguments, **how)
    return found.value.error


def path_with(folder):
    """PYTHONPATH of a child that is to import what lies in `folder`."""
    return os.pathsep.join([*filter(None, [os.environ.get('PYTHONPATH')]), str(folder)])
