# SPDX-License-Identifier: Apache-2.0
"""What a new actor is started with: its start method, its modules, the main script, sys.path."""
import os
import sys

from coppice._exceptions import BackendUnavailable
from coppice._native import native
from coppice._types import Any, Iterable, Mapping

ARGUMENT = 'the argument'
VARIABLE = 'COPPICE_SPAWN_METHOD'
# In the ImportError of a module that loads in a main interpreter only (spawn/methods.hpp).
NEEDS_MAIN = "start the actor with start_method='process'"
AUTO = 'subint'      # What 'auto' tries first, and
OTHERWISE = 'forkserver'  # takes where a module needs the main interpreter.
PROCESS = 'process'

# Why: src/pyhost/embed.hpp. What is asked for elsewhere src/pyhost/guest_core.cpp refuses.
TRACED = 'tracemalloc traces this process, and no sub-interpreter can start under it'

_keys: dict[str, str] = {}     # Of every method that runs Python, by key and alias.
_not_python: set[str] = set()  # Keys of the others.
# Why actors of these modules need a main interpreter: a start by 'auto' has found out.
_need_main: dict[tuple[tuple[str, str], ...], str] = {}


def default(start_method: str) -> tuple[str, str]:
    """The start method of actors that leave it open, and who says so.

    `start_method` is what the program gives to a root or a nursery: the weakest. The environment
    overrides it, and the command line of `coppice run` overrides both.
    """
    typed = native.command_line_method()
    if typed is not None:
        return typed, 'the command line'
    said = os.environ.get(VARIABLE)
    return (said, VARIABLE) if said else (start_method, ARGUMENT)


def choose(start_method: str, said_by: str = ARGUMENT) -> tuple[str, str]:
    """The key of the backend that a start method means, and why.

    ValueError if there is no such method, BackendUnavailable if this build or machine cannot serve
    it; both say who asked for it, and name the choices.
    """
    if not _keys:
        _learn_methods()
    key = _keys.get(start_method, start_method)
    if key == 'auto':
        if native.is_traced():
            return OTHERWISE, f"'auto' is {OTHERWISE!r} here: {TRACED}"
        placed, why = native.place(AUTO)
        return placed, why or f"'auto' is {AUTO!r} where the modules load in one"
    known = dict(native.backends())
    if known.get(AUTO, '') is None and native.is_traced():
        known[AUTO] = f'{TRACED}: stop it, or use {OTHERWISE!r} or {PROCESS!r}'
    served = [name for name, refusal in known.items() if refusal is None and name in _keys]
    choices = ', '.join(['auto', *served])
    what = f'start method {start_method!r} (from {said_by})'
    if key in _not_python:
        raise BackendUnavailable(f'{what} runs actors written in C++: a Python actor needs one of '
                                 f'{choices}')
    if key not in _keys:
        raise ValueError(f'there is no {what}: use one of {choices} (all names: '
                         f'{", ".join(_keys)})')
    if key not in known:
        raise BackendUnavailable(f'{what} is not in this version of coppice: use one of {choices}')
    refusal = known[key]
    if refusal is not None:
        raise BackendUnavailable(f'{what}: {refusal}')
    placed, why = native.place(key)
    if why is not None:
        return placed, why
    if said_by != ARGUMENT:
        return key, f'{said_by} says {start_method!r}'
    return key, 'asked for' if key == start_method else f'asked for as {start_method!r}'


def otherwise(start_data: Mapping[str, Any], error: BaseException | None = None
              ) -> tuple[str, str] | None:
    """Another choice, and why, for an actor whose method is 'auto': None as long as nobody knows
    better. `error` is how its start has failed, which is remembered for the same modules."""
    modules = tuple(sorted(start_data['enable_modules'].items()))
    message = getattr(error, 'message', '')
    if getattr(error, 'src_type', None) is ImportError and NEEDS_MAIN in message:
        _need_main[modules] = message.partition(': ')[0]
    elif error is not None:
        return None
    why = _need_main.get(modules)
    return (OTHERWISE, f"'auto' is {OTHERWISE!r} here: {why}") if why is not None else None


def _learn_methods() -> None:
    for key, aliases, languages, *_ in native.spawn_methods():
        if 'Python' not in languages:
            _not_python.add(key)
            continue
        for name in (key, *aliases):
            _keys[name] = key


def wire_module(name: str) -> str:
    """A module's name as other actors know it: in a child the main script has two names."""
    return '__main__' if name == '__mp_main__' else name


def module_paths(names: Iterable[str] | None) -> dict[str, str]:
    """The modules that an actor exposes, with the files they come from ('' if unknown). None of
    them is imported here: what it needs may exist in the child only."""
    if isinstance(names, str):
        raise TypeError(f'enable_modules takes a list of module names: write [{names!r}]')
    paths = {}
    for name in names or ():
        if not isinstance(name, str):
            raise TypeError(f'enable_modules takes names, not {name!r}: write __name__ for the '
                            'module that you are in')
        paths[wire_module(name)] = _module_path(name)
    return paths


def main_data() -> dict[str, str]:
    """How a child gets this program's main script, as multiprocessing does it; {} if there is none
    to get: a prompt, `python -c`, a package's `__main__`."""
    module = _main_module()
    name = getattr(getattr(module, '__spec__', None), 'name', None)
    if name is not None and name not in ('__main__', '__mp_main__'):
        return {} if name.endswith('.__main__') else {'init_main_from_name': name}
    path = getattr(module, '__file__', None)
    if not path:
        return {}
    path = os.path.abspath(path)
    if path in _own_scripts() or not os.path.isfile(path):
        return {}
    return {'init_main_from_path': path}


def program_to_warm() -> dict[str, Any]:
    """What warm guests need to know ahead of this program."""
    if native.is_traced():
        raise BackendUnavailable(f'there are no warm guests: {TRACED}: stop it, or leave out warm')
    return {'sys_path': search_path(), 'main_script': main_data().get('init_main_from_path')}


def start_data(enable_modules: Iterable[str] | None, inherit_main: bool) -> dict[str, Any]:
    """The options of `_coppice.start_child` that say which code the child runs."""
    modules = module_paths(enable_modules)
    main = main_data() if inherit_main else {}
    if '__main__' in modules and not main:
        raise ValueError(
            'enable_modules has __main__, but the child cannot get this main program: '
            + ('inherit_parent_main is off' if not inherit_main else
               'a prompt, `python -c` and `python -m package` have no file that it could run'))
    return {'enable_modules': modules, 'main': main, 'sys_path': search_path()}


def process_options(proc_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options of `_coppice.start_child` that say how the process of a child is started: those
    of the keywords of tractor's proc_kwargs that there are here."""
    options = dict(proc_kwargs or {})
    unknown = options.keys() - {'executable', 'env'}
    if unknown:
        raise TypeError(f'proc_kwargs has {", ".join(sorted(map(repr, unknown)))}: there are '
                        "'executable' and 'env'")
    if 'executable' in options:
        options['executable'] = _program_at(os.fspath(options['executable']))
    if 'env' in options:
        options['env'] = dict(options['env'])
    return options


def _program_at(path: str) -> str:
    """As a shell finds it: children may have another working directory, and look nowhere."""
    if os.sep in path:
        return os.path.abspath(path)
    for folder in os.get_exec_path():
        found = os.path.join(folder, path)
        if os.access(found, os.X_OK):
            return os.path.abspath(found)
    raise FileNotFoundError(f'proc_kwargs: there is no program {path!r} on the PATH')


def search_path() -> list[str]:
    """This interpreter's sys.path, meaningful in any working directory."""
    return [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]


def _own_scripts() -> list[str]:
    folder = os.path.dirname(os.path.abspath(__file__))
    return [os.path.join(folder, name) for name in ('_child.py', '_zygote.py')]


def _main_module() -> Any:
    # A child's own `__main__` may be ours; the one that it took over is under this name.
    return sys.modules.get('__mp_main__') or sys.modules.get('__main__')


def _module_path(name: str) -> str:
    main = wire_module(name) == '__main__'
    module = _main_module() if main else sys.modules.get(name)
    if main or module is not None:
        path = getattr(module, '__file__', None)
        return _file_of(os.path.abspath(path) if path else None)
    return _file_of(getattr(_find_spec(name), 'origin', None))


def _find_spec(name: str) -> Any:
    """Like importlib.util.find_spec, but it does not import the packages that `name` is in."""
    path: Any = None
    spec: Any = None
    parts = name.split('.')
    for end in range(1, len(parts) + 1):
        prefix = '.'.join(parts[:end])
        module = sys.modules.get(prefix)
        spec = getattr(module, '__spec__', None)
        if spec is None:
            try:
                found = (finder.find_spec(prefix, path) for finder in sys.meta_path)
                spec = next(filter(None, found), None)
            except Exception:
                return None  # A broken finder: the child's import will say what is wrong.
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if path is None and end < len(parts):
            return None
    return spec


def _file_of(origin: Any) -> str:
    if not isinstance(origin, str) or not os.path.isabs(origin):
        return ''  # 'built-in', 'frozen', or nothing.
    return origin
