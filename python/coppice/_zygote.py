# SPDX-License-Identifier: Apache-2.0
"""The process that actors are forked from.

    python -P …/coppice/_zygote.py --owner PID [folder …] -- [module …]

The folders are the sys.path by which it imports the modules; none: its own. What orders children
from it is at the other end of descriptor 3. By path, like _child.py; it is never imported.
"""
import os
import sys


def main(arguments: list[str]) -> int:
    if arguments[:1] != ['--owner'] or '--' not in arguments:
        print(f'{sys.argv[0]}: actors start this, people do not', file=sys.stderr)
        return 2
    end = arguments.index('--')
    folders, modules = arguments[2:end], arguments[end + 1:]
    if folders:
        sys.path[:] = folders
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:
        import _coppice as native  # type: ignore[import-not-found]
    except ModuleNotFoundError:
        from coppice._native import native
    status: int = native.zygote_main({'preload': modules})
    return status


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
