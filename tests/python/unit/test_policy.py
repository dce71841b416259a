# SPDX-License-Identifier: Apache-2.0
"""StopPolicy and ExitReport are values."""
import copy
import pickle

import coppice
import pytest


def test_they_are_immutable_comparable_and_hashable():
    policy = coppice.StopPolicy(ask=1)
    with pytest.raises(AttributeError, match='immutable'):
        policy.ask = 2
    with pytest.raises(AttributeError):
        del policy.ask
    assert policy == coppice.StopPolicy(ask=1.0) != coppice.StopPolicy()
    assert len({policy, coppice.StopPolicy(ask=1)}) == 1
    assert policy != coppice.ExitReport()
    assert repr(coppice.ExitReport()) == (
        "ExitReport(rung='none', how='returned', status=0, seconds=0.0, text='')")


def test_they_can_be_copied_pickled_and_replaced():
    policy = coppice.StopPolicy(total=1, may_force=False)
    assert copy.copy(policy) == policy
    assert copy.deepcopy(policy) == policy
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert copy.replace(policy, total=2) == coppice.StopPolicy(total=2, may_force=False)


@pytest.mark.parametrize('value', [-1, float('nan'), float('inf')])
def test_a_bound_is_a_bound(value):
    with pytest.raises(ValueError, match=r'StopPolicy\(interrupt='):
        coppice.StopPolicy(interrupt=value)


def test_a_policy_within_a_time_is_never_longer():
    assert coppice.StopPolicy().within(0.2).total == 0.2
    assert coppice.StopPolicy(total=0.1).within(0.2).total == 0.1


def test_rungs_that_do_not_fit_into_the_total_share_it():
    assert coppice.StopPolicy()._native() == (0.5, 0.05, 1.0, 0.5, 3.0, True)
    assert coppice.StopPolicy(total=1)._native() == pytest.approx((1 / 6, 1 / 60, 1 / 3, 0.5, 1, 1))
    assert coppice.StopPolicy(ask=9, interrupt=0, force=1, total=1)._native() == pytest.approx(
        (0.5, 0.05 / 18, 0, 0.5, 1, 1))
    assert coppice.StopPolicy(ask=0, interrupt=0, force=0, total=0)._native()[4] == 0


def test_a_report_is_true_and_reads_well():
    assert coppice.ExitReport()
    assert str(coppice.ExitReport(text='killed by SIGKILL')) == 'killed by SIGKILL'
    assert str(coppice.ExitReport(how='lost')) == 'lost'


def test_a_warm_pool_is_a_value_that_refuses_what_makes_no_sense():
    pool = coppice.WarmPool(size=2, preload=['json'], loop='trio')
    assert pool.preload == ('json',)
    assert pool == coppice.WarmPool(2, ('json',), 'trio') != coppice.WarmPool(2)
    assert pickle.loads(pickle.dumps(pool)) == pool
    for wrong in ({'size': -1}, {'size': 257}, {'size': 1, 'loop': 'curio'},
                  {'size': 1, 'refill': 'sometimes'}, {'size': 1, 'at_once': 0}):
        with pytest.raises(ValueError, match=r'WarmPool\('):
            coppice.WarmPool(**wrong)
    for wrong in ('json', [1]):
        with pytest.raises(TypeError, match=r'WarmPool\(preload='):
            coppice.WarmPool(1, wrong)
