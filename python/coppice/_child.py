# SPDX-License-Identifier: Apache-2.0
"""What a process child of an actor executes: `python -P …/coppice/_child.py --uid … …`.

By path, so that it works in any environment; it is never imported. Options as in tractor, ones that
are unknown are ignored; no argparse, which takes longer to import than a child to start.
"""
import os
import sys


def main(arguments: list[str]) -> int:
    options = dict(zip(arguments[::2], arguments[1::2]))
    try:
        uid, parent_addr = options['--uid'], options['--parent_addr']
    except KeyError as missing:
        print(f'{sys.argv[0]}: {missing.args[0]} is missing: actors start this, people do not',
              file=sys.stderr)
        return 2
    # Last, so that it hides nothing: the parent sends its sys.path as soon as we are connected.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:
        import _coppice as native  # type: ignore[import-not-found]
    except ModuleNotFoundError:
        from coppice._native import native
    status: int = native.child_main(uid, parent_addr)
    return status


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
