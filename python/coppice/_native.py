# SPDX-License-Identifier: Apache-2.0
"""Finds `_coppice`, the native half.

It is built into an interpreter that Coppice hosts, and an extension module anywhere else: beside
this package when it is installed, on `sys.path` in a build folder. There must be one module object
per interpreter, because it has state: whichever was imported first is the one.
"""
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coppice import _coppice as native

    __all__ = ['native']
else:
    def _find():
        if '_coppice' not in sys.modules and '_coppice' not in sys.builtin_module_names:
            try:
                __import__('coppice._coppice')
            except ModuleNotFoundError as error:
                if error.name != 'coppice._coppice':
                    raise
            else:
                sys.modules['_coppice'] = sys.modules['coppice._coppice']
        try:
            import _coppice
        except ModuleNotFoundError as error:
            if error.name != '_coppice':
                raise
            raise ImportError(
                f'coppice has no native half for this Python ({sys.executable}): `make` in a '
                'checkout builds it for the Python that it finds, or that PYTHON=/path names',
                name='_coppice') from None
        return _coppice

    native = _find()
