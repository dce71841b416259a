# SPDX-License-Identifier: Apache-2.0
"""The recorded dialogs of real tractor, with an actor of ours in each part; and a replay that would
pass whatever came is none: perturbed copies of the recording have to fail, and say where."""
import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from golden import CONCURRENT, OPTIONAL, Difference, Ids, Replay, parse, recording
from interop_kit import CHILD, folder, path_with  # noqa: F401: a fixture

HERE = Path(__file__).resolve().parent
PARTS = ('root', 'callee', 'leaf')


def peer_plays(part, folder):
    words = [sys.executable, str(HERE / 'golden_peer.py'), *(['root'] if part == 'root' else []),
             folder, f'{folder}/stand_in']
    return lambda more: subprocess.Popen([*words, *more], stderr=subprocess.DEVNULL)


def coppice_plays(part, folder):
    for name in ('appmod.py', 'scen.py'):
        shutil.copy(HERE / 'golden_program' / name, folder)
    words = [f'{folder}/scen.py'] if part == 'root' else ['-P', str(CHILD)]
    environment = {**os.environ, 'PYTHONPATH': path_with(folder), 'XDG_RUNTIME_DIR': folder,
                   'GOLDEN_STAND_IN': f'{folder}/stand_in'}
    return lambda more: subprocess.Popen([sys.executable, *words, *more], env=environment)


PLAYERS = {'peer': peer_plays, 'coppice': coppice_plays}


def replay(player, part, folder, lines=None, **how):
    run = Replay(lines or recording(), part, folder, **how)
    run.write_stand_in(sys.executable)
    run.run(PLAYERS[player](part, folder))
    return run


def assert_equals_the_recording(player, part, folder, lines=None):
    run = replay(player, part, folder, lines)
    sent = [one for one in run.frames if one.by == part and one.n not in OPTIONAL]
    got = [one for one in run.journal.records if one.direction == 'got']
    assert len(sent) <= len(got) <= len(sent) + len(OPTIONAL)


@pytest.mark.parametrize('part', PARTS)
def test_every_frame_of_the_independent_actor_equals_the_recorded_one(part, folder):
    assert_equals_the_recording('peer', part, folder)


@pytest.mark.parametrize('part', PARTS)
def test_every_frame_of_coppice_equals_the_recorded_one(native_half, part, folder):
    assert_equals_the_recording('coppice', part, folder)


def test_every_recorded_frame_is_held_against_ours_in_some_part():
    frames, _ = parse(recording())
    assert [one.n for one in frames] == list(range(85))
    assert {one.by for one in frames} == set(PARTS)
    assert set(CONCURRENT) | set(OPTIONAL) <= {one.n for one in frames}


def changed(n, **fields):
    def perturb(lines):
        lines[n]['message'].update(fields)
    return perturb


def missing(n):
    def perturb(lines):
        del lines[n]
    return perturb


def swapped(n, m):
    def perturb(lines):
        for key in ('message', 'direction', 'connection'):
            lines[n][key], lines[m][key] = lines[m][key], lines[n][key]
    return perturb


def doubled(n):
    def perturb(lines):
        lines.insert(n, copy.deepcopy(lines[n]))
    return perturb


def cid_of(n, m):
    def perturb(lines):
        lines[n]['message']['cid'] = lines[m]['message']['cid']
    return perturb


def without_key(n, key):
    def perturb(lines):
        del lines[n]['message'][key]
    return perturb


def assert_fails(player, part, perturb, says, folder):
    lines = recording()
    perturb(lines)
    with pytest.raises(Difference) as found:
        replay(player, part, folder, lines, patience=2)
    text = str(found.value).partition('--- what passed')[0]
    assert all(one in text for one in says), text


@pytest.mark.parametrize('part, perturb, says', [
    ('callee', changed(10, pld=4), ('frame 10 ', 'pld: recorded 4, got 3')),
    ('callee', changed(28, functype='asyncfunc'), ('frame 28 ', 'functype')),
    ('callee', changed(37, pld=None), ('frame 37 ', "pld: recorded None, got 'done'")),
    ('callee', changed(44, pld=1), ('frame 44 ', 'pld: recorded 1, got True')),
    ('callee', changed(43, canceller=None), ('frame 43 ', 'canceller')),
    ('callee', changed(68, relay_path=[]), ('frame 68 ', 'relay_path')),
    ('callee', without_key(13, 'sender'), ('frame 13 ', 'sender: not recorded')),
    ('callee', changed(13, extra=1), ('frame 13 ', 'extra: recorded 1, is missing')),
    ('callee', cid_of(44, 26), ('frame 44 ', 'cid')),
    ('callee', missing(22), ('frame 23 ', 'msg_type')),
    ('callee', missing(37), ('connection 1', 'frame 39 ')),
    ('callee', missing(79), ('connection 1', 'not recorded', 'CancelAck')),
    ('callee', swapped(9, 10), ('frame 9 ', 'msg_type')),
    ('callee', swapped(30, 32), ('frame 31 ', 'pld.echo')),
    ('callee', swapped(5, 9), ('frame 5 ',)),
    ('callee', doubled(21), ('frame 21 ', 'pld: recorded 1, got 2')),
    ('root', changed(5, kwargs={'x': 1, 'y': 3}), ('frame 5 ', 'kwargs.y')),
    ('root', changed(18, func='other'), ('frame 18 ', 'func')),
    ('root', changed(0, is_registrar=False), ('frame 0 ', 'is_registrar')),
    ('root', missing(36), ('frame 38 ', 'msg_type')),
    ('root', missing(24), ('frame 27 ',)),
    ('leaf', changed(58, src_type_str='KeyError'), ('frame 58 ', 'src_type_str')),
    ('leaf', missing(61), ('frame',)),
    ('leaf', changed(64, func='other'), ('frame 64 ', 'func')),
], ids=lambda one: '' if callable(one) else None)
def test_a_perturbed_recording_fails_and_says_where(part, perturb, says, folder):
    assert_fails('peer', part, perturb, says, folder)


@pytest.mark.parametrize('part, perturb, says', [
    ('callee', changed(35, pld={'echo': [3, None, 4.5, {'$bytes': '01'}]}), ('frame 35 ', 'pld')),
    ('callee', changed(50, reg_addrs=[]), ('frame 50 ', 'reg_addrs')),
    ('callee', changed(68, relay_path=[]), ('frame 68 ', 'relay_path')),
    ('callee', missing(82), ('connection 7', 'unregister_actor')),
    ('root', changed(2, _parent_main_data={}), ('frame 2 ', 'init_main_from_path')),
    ('root', changed(7, functype='context'), ('frame 7 ', 'functype')),
    ('root', missing(69), ('frame 77 ', 'func')),
    ('root', changed(74, func='other'), ('frame 74 ', 'func')),
    ('leaf', changed(54, ns='other'), ('frame 54 ', 'ns')),
    ('leaf', changed(58, src_type_str='KeyError'), ('frame 58 ', 'src_type_str')),
    ('leaf', missing(61), ('frame',)),
], ids=lambda one: '' if callable(one) else None)
def test_a_perturbed_recording_fails_for_coppice_too(native_half, part, perturb, says, folder):
    assert_fails('coppice', part, perturb, says, folder)


def test_ids_are_mapped_one_to_one():
    a, b, c = (f'{n}0000000-0000-4000-8000-000000000000' for n in (1, 2, 3))
    ids = Ids()
    assert ids.differences({'cid': a}, {'cid': b}) == []
    assert ids.differences({'cid': a}, {'cid': b}) == []
    assert 'cid' in ids.differences({'cid': a}, {'cid': c})[0]  # It has been something else.
    assert 'cid' in ids.differences({'cid': c}, {'cid': b})[0]  # So has this.
    assert ids.translate({'cid': a, 'addr': ['127.0.0.1', 5]}) == {'cid': b,
                                                                   'addr': ['127.0.0.1', 5]}


def test_only_texts_at_the_top_may_differ():
    ids = Ids()
    assert ids.differences({'message': 'a', 'tb_str': ''}, {'message': 'b', 'tb_str': 'x'}) == []
    assert ids.differences({'pld': {'message': 'a'}}, {'pld': {'message': 'b'}}) != []
    assert ids.differences({'pld': 1}, {'pld': 1.0}) != []
    assert ids.differences({'pld': 1}, {'pld': True}) != []
