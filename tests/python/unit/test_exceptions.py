# SPDX-License-Identifier: Apache-2.0
"""What errors of other actors look like here."""
import pickle
import re
from pathlib import Path

import coppice
import pytest
from coppice import _exceptions
from coppice._exceptions import make_error

LEAF, MID = ('leaf', 'u1'), ('mid', 'u2')


def info(**changes):
    return {'type': 'ValueError', 'source_type': 'ValueError', 'message': 'boom',
            'traceback': 'Traceback (most recent call last):\n  File "x.py", line 3\n',
            'source': LEAF, 'path': [LEAF], 'members': [], **changes}


def test_a_remote_error_has_everything_that_travelled():
    error = make_error('remote', info())
    assert type(error) is coppice.RemoteActorError
    assert error.boxed_type is error.src_type is ValueError
    assert error.boxed_type_str == error.src_type_str == 'ValueError'
    assert (error.message, error.src_uid, error.relay_path) == ('boom', LEAF, [LEAF])
    assert error.relay_uid == LEAF
    assert 'x.py' in error.tb_str
    assert error.info == info()


def test_a_relayed_error_keeps_its_source_and_says_who_passed_it_on():
    error = make_error('remote', info(type='RemoteActorError', path=[LEAF, MID]))
    assert error.boxed_type is coppice.RemoteActorError
    assert error.src_type is ValueError
    assert error.relay_uid == MID


def test_its_text_starts_with_one_line_that_says_it_all_and_shows_the_traceback():
    text = str(make_error('remote', info(path=[LEAF, MID])))
    assert text.splitlines()[0] == "ValueError: boom [in actor 'leaf', through 'mid']"
    assert '  |   File "x.py", line 3' in text
    assert repr(make_error('remote', info())) == (
        "<RemoteActorError ValueError: 'boom' in actor 'leaf'>")


def test_a_group_has_every_member_whole():
    group = make_error('remote', info(type='ExceptionGroup', source_type='ExceptionGroup',
                                      message='two', members=[info(), info(message='other')]))
    assert [member.message for member in group.members] == ['boom', 'other']
    assert 'other' in str(group)
    unwrapped = group.unwrap()
    assert isinstance(unwrapped, ExceptionGroup)
    assert [str(one) for one in unwrapped.exceptions] == ['boom', 'other']


def test_unwrap_makes_the_error_again_and_keeps_where_it_came_from():
    error = make_error('remote', info())
    with pytest.raises(ValueError, match='^boom$') as raised:
        raise error.unwrap()
    assert raised.value.__cause__ is error


@pytest.mark.parametrize('name', ['NoSuchError', 'print', 'UnicodeDecodeError'])
def test_unwrap_gives_itself_where_the_type_is_unknown_or_takes_more(name):
    error = make_error('remote', info(source_type=name))
    assert error.unwrap() is error


def test_types_are_found_by_name_in_builtins_coppice_and_what_was_registered():
    class OrderRefused(Exception): pass

    assert _exceptions.find_type('KeyError') is KeyError
    assert _exceptions.find_type('json.decoder.KeyError') is KeyError
    assert _exceptions.find_type('ModuleNotExposed') is coppice.ModuleNotExposed
    assert _exceptions.find_type('ExceptionGroup') is ExceptionGroup
    assert _exceptions.find_type('print') is None  # A name that is there, and no error.
    assert make_error('remote', info(type='OrderRefused')).boxed_type is None
    coppice.reg_err_types([OrderRefused])
    assert make_error('remote', info(type='OrderRefused')).boxed_type is OrderRefused
    with pytest.raises(TypeError, match='exception classes'):
        coppice.reg_err_types([int])


def test_a_cancelled_context_says_who_cancelled_it():
    error = make_error('remote', info(type='ContextCancelled', canceller=MID))
    assert type(error) is coppice.ContextCancelled
    assert isinstance(error, coppice.RemoteActorError)
    assert error.canceller == MID
    assert make_error('remote', info(type='ContextCancelled')).canceller is None


@pytest.mark.parametrize('kind, cls', [
    ('closed', coppice.TransportClosed), ('unavailable', coppice.BackendUnavailable),
    ('runtime', coppice.RuntimeFailure), ('limit', coppice.LimitExceeded),
    ('stuck', coppice.CallStuck), ('died', coppice.ActorDied), ('start', coppice.ActorFailure)])
def test_every_kind_of_the_native_half_has_its_class(kind, cls):
    error = make_error(kind, {'message': 'what it says'})
    assert type(error) is cls
    assert str(error) == 'what it says'


def test_an_unknown_kind_is_still_an_error_that_says_something():
    assert str(make_error('new', {'message': 'm'})) == 'new: m'


def test_a_death_has_its_report_and_is_a_closed_transport():
    error = make_error('died', {'message': 'm', 'name': 'a',
                                'report': ('none', 'signalled', 9, 0.0, 'killed by SIGKILL')})
    assert isinstance(error, coppice.TransportClosed)
    assert error.report.status == 9
    assert error.name == 'a'
    assert make_error('start', {'message': 'm', 'report': (
        'none', 'exited', 1, 0.0, 'exited with status 1')}).report.how == 'exited'


def test_errors_say_what_a_program_may_catch_them_as():
    assert issubclass(coppice.NoRuntime, RuntimeError)
    assert issubclass(coppice.ModuleNotExposed, ModuleNotFoundError)
    assert issubclass(coppice.BackendUnavailable, coppice.RuntimeFailure)
    assert not issubclass(coppice.Interrupted, Exception)


def test_remote_errors_can_be_pickled():
    error = pickle.loads(pickle.dumps(make_error('remote', info())))
    assert error.info == info()


def test_sparse_fields_of_an_older_peer_are_enough():
    error = make_error('remote', {'type': 'KeyError'})
    assert (error.message, error.tb_str, error.members) == ('', '', [])
    assert str(error) == "KeyError [in actor '?']"


def test_every_name_of_the_table_of_errors_is_a_class_here():
    text = (Path(__file__).resolve().parents[3] / 'docs' / 'errors.md').read_text()
    rows = [line.split('|')[1] for line in text.splitlines() if line.startswith('| `')]
    names = [name for row in rows for name in re.findall(r'`(\w+)`', row)]
    assert len(names) > 40
    for name in names:
        found = _exceptions.find_type(name)
        assert found is not None and found.__name__ == name, name


def test_the_table_of_errors_is_the_one_that_the_native_half_has():
    root = Path(__file__).resolve().parents[3]
    docs = set(re.findall(r'`(\w+(?:Error|Group|Overrun|Cancelled|Closed|Died|Failure|Stuck|Lagged|'
                          r'Exceeded|Exposed|Unavailable))`', '\n'.join(
                              line.split('|')[1] for line in (
                                  root / 'docs' / 'errors.md').read_text().splitlines()
                              if line.startswith('| `')))) | {'Lagged'}
    header = (root / 'include' / 'coppice' / 'remote_error.hpp').read_text()
    table = (root / 'src' / 'core' / 'remote_error.cpp').read_text()
    native = set(re.findall(r'COPPICE_WIRE_NAME\(.*"(\w+)"\)', header)) | set(
        re.findall(r'(?:os_error|python_only)<[^\n]*>\("(\w+)"\)', table))
    assert docs == native
