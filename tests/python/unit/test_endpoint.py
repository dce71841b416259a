# SPDX-License-Identifier: Apache-2.0
"""What @context and @stream take, and what they leave at a function."""
import sys
import textwrap

import coppice
import pytest
from coppice import Context
from coppice._portal import _bind


def endpoint(source, **names):
    """A function of a module of its own, marked."""
    space = {'coppice': coppice, 'Context': Context, '__name__': 'm', **names}
    exec(textwrap.dedent(source), space)
    return space['f']._coppice_endpoint


@pytest.mark.parametrize('annotation', [
    'Context', 'coppice.Context', 'Context[int, str]', 'Context | None', 'Context[int, str] | None',
    '"Context"', '"coppice.Context[int]"'])
def test_the_parameter_is_found_by_its_annotation_whatever_it_is_called(annotation):
    made = endpoint(f'''
        @coppice.context
        async def f(x: int, link: {annotation}, y=1) -> Context: pass
        ''')
    assert (made.kind, made.parameter) == ('context', 'link')


def test_annotations_may_be_text_or_name_what_is_defined_later():
    for source in ('''
            from __future__ import annotations
            @coppice.context
            async def f(ctx: Context, x: Later): pass
            ''', '''
            @coppice.context
            async def f(ctx: Context, x: Later): pass
            '''):
        assert endpoint(source).parameter == 'ctx'


def test_types_of_payloads_are_kept_for_whoever_checks_them():
    made = endpoint('''
        @coppice.context(pld_spec=int | None)
        async def f(ctx: Context[int, str, bytes, float]): pass
        ''')
    assert made.pld_spec == int | None
    assert made.annotation.__args__ == (int, str, bytes, float)


def test_what_is_no_context_is_refused_with_advice():
    with pytest.raises(TypeError, match='annotate the parameter'):
        @coppice.context
        async def without(ctx): pass
    with pytest.raises(TypeError, match='async def'):
        @coppice.context
        def plain(ctx: Context): pass
    with pytest.raises(TypeError, match='async def'):
        coppice.context(3)
    with pytest.raises(TypeError, match='ctx: coppice.Context'):
        @coppice.stream
        async def no_parameter(): pass


@pytest.mark.parametrize('name', ['ctx', 'stream'])
def test_a_stream_function_has_its_context_by_name(name):
    made = endpoint(f'''
        @coppice.stream
        async def f(n, {name}): pass
        ''')
    assert (made.kind, made.parameter) == ('asyncgen', name)


def test_a_wrapper_of_a_context_is_one():
    made = endpoint('''
        import functools
        def wrapped(g):
            @functools.wraps(g)
            def f(*args, **kwargs): return g(*args, **kwargs)
            return f
        @wrapped
        @coppice.context
        async def f(ctx: Context): pass
        ''')
    assert made.parameter == 'ctx'


def test_positional_arguments_are_bound_around_the_context():
    async def f(x, ctx: Context, y): pass
    coppice.context(f)
    assert _bind(f, (1, 2), {}) == {'x': 1, 'y': 2}
    with pytest.raises(TypeError, match='2 parameters'):
        _bind(f, (1, 2, 3), {})


def test_reading_annotations_imports_nothing_slow():
    assert 'coppice' in sys.modules
    before = set(sys.modules)
    endpoint('''
        @coppice.context
        async def f(ctx: Context[int], x: int): pass
        ''')
    assert not {'inspect', 'typing', 'annotationlib'} & (set(sys.modules) - before)


def test_the_classes_of_streams_ends_are_trios_where_trio_runs():
    from coppice._exceptions import of_loop

    assert of_loop(coppice.EndOfChannel, 'asyncio') is coppice.EndOfChannel
    trio = pytest.importorskip('trio')
    for name in ('EndOfChannel', 'ClosedResourceError', 'WouldBlock'):
        made = of_loop(getattr(coppice, name), 'trio')
        assert issubclass(made, getattr(coppice, name)) and issubclass(made, getattr(trio, name))
        assert of_loop(getattr(coppice, name), 'trio') is made
