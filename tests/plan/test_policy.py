"""Policies: plain, frozen, comparable records that refuse what they cannot draw."""

import dataclasses
import math
import pickle

import numpy as np
import pytest

import dali_msda as msda
from dali_msda.policy import METHODS, POLICIES
from tests.support.variants import CASES, DRAWN, VARIANTS, draw_any, make

MIXUP, CUTMIX = msda.Mixup(), msda.CutMix()
EVERY = [
    msda.Mixup(),
    msda.Mixup(alpha=0.2, n=3, partner="roll", scope="batch", prob=0.5),
    msda.CutMix(),
    msda.CutMix(box="wrap", scope="pair", partner="flip"),
    msda.CutMix(minmax=(0.2, 0.8)),
    msda.Choice([MIXUP, CUTMIX]),
    msda.Choice([MIXUP, CUTMIX], weights=[1, 3], scope="batch"),
    msda.Alternate([MIXUP, msda.Choice([CUTMIX, MIXUP])], counts=[2, 1]),
    *map(make, DRAWN),
    msda.Choice([make(case) for case in CASES]),
]


@pytest.mark.parametrize("policy", EVERY, ids=range(len(EVERY)))
def test_policies_are_values(policy):
    """Equal by content, hashable, printable as the call that makes them, safe to send around."""
    again = eval(repr(policy), vars(msda))
    assert again == policy and hash(again) == hash(policy)
    assert pickle.loads(pickle.dumps(policy)) == policy
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.alpha = 2.0
    plan = draw_any(policy, 8, 9, 9, seed=0, step=0)
    np.testing.assert_array_equal(plan, draw_any(again, 8, 9, 9, seed=0, step=0))


def test_the_table_names_the_policies():
    assert set(METHODS) == set(POLICIES) == set(VARIANTS)
    for name, method in METHODS.items():
        assert POLICIES[name].__name__ == method.policy and POLICIES[name].method == name
        assert getattr(msda, method.policy) is POLICIES[name] and method.policy in msda.__all__
        plan = draw_any(POLICIES[name](), 3, 9, 9, seed=0, step=0)
        assert (plan["method"] == method.code).all()
        own = {field.name for field in dataclasses.fields(POLICIES[name])}
        tried = set().union(*VARIANTS[name])
        settings = own - {field.name for field in dataclasses.fields(msda.policy.Leaf)}
        assert tried == settings, f"{name}: variants.py tries {tried} of {settings}"


def test_defaults():
    """The defaults of the authors' code, but for the scope: each sample draws for itself."""
    for policy in (MIXUP, CUTMIX):
        assert (policy.alpha, policy.prob) == (1.0, 1.0)
        assert (policy.scope, policy.partner) == ("sample", "permutation")
    assert MIXUP.n == 2 and CUTMIX.box == "clip" and CUTMIX.minmax is None
    fmix, hmix, resizemix = msda.FMix(), msda.HMix(), msda.ResizeMix()
    assert (fmix.decay, fmix.law, fmix.max_soft, fmix.rounding) == (3.0, "paper", 0.0, "nearest")
    assert not fmix.reformulate and fmix.modes is None
    assert (hmix.r, hmix.gamma, hmix.mode, hmix.box) == (0.5, None, "exact", "clip")
    assert msda.SaliencyMix().box == "clip"
    assert msda.GMix().mode == "code" and resizemix.tau == (0.1, 0.8)
    assert msda.Cutout().length == 16 and resizemix == msda.ResizeMix(tau=[0.1, 0.8])
    assert msda.Choice([MIXUP, CUTMIX]) == msda.Choice((MIXUP, CUTMIX), weights=(1, 1))
    assert msda.Alternate([MIXUP, CUTMIX]) == msda.Alternate([MIXUP, CUTMIX], counts=[1, 1])
    assert msda.Mixup() != msda.Mixup(alpha=0.5) and msda.Mixup() != msda.CutMix()


def test_a_choice_of_one_and_equal_weights_of_any_size():
    key = {"seed": 3, "step": 1}
    alone, chosen = (
        msda.draw(CUTMIX, 9, 8, 8, **key),
        msda.draw(msda.Choice([CUTMIX]), 9, 8, 8, **key),
    )
    np.testing.assert_array_equal(alone, chosen)
    a = msda.draw(msda.Choice([MIXUP, CUTMIX], weights=[1, 3]), 99, 8, 8, **key)
    b = msda.draw(msda.Choice([MIXUP, CUTMIX], weights=[1e-3, 3e-3]), 99, 8, 8, **key)
    np.testing.assert_array_equal(a, b)


NAN, INF = math.nan, math.inf
REFUSED = [
    (lambda: msda.Mixup(alpha=0), "alpha: expected .* got 0"),
    (lambda: msda.Mixup(alpha=-1.0), "alpha: expected .* got -1.0"),
    (lambda: msda.Mixup(alpha=NAN), "alpha: expected .* got nan"),
    (lambda: msda.Mixup(alpha=INF), "alpha: expected .* got inf"),
    (lambda: msda.Mixup(alpha=1e-3), r"alpha: expected .*0.01.* got 0.001"),
    (lambda: msda.Mixup(alpha=101.0), r"alpha: expected .*100.* got 101.0"),
    (lambda: msda.Mixup(alpha="1"), "alpha: expected .* got '1'"),
    (lambda: msda.Mixup(alpha=None), "alpha: expected .* got None"),
    (lambda: msda.Mixup(alpha=True), "alpha: expected .* got True"),
    (lambda: msda.Mixup(n=1), "n: expected 2, 3 or 4.* got 1"),
    (lambda: msda.Mixup(n=5), "n: expected 2, 3 or 4.* got 5"),
    (lambda: msda.Mixup(n=2.0), "n: expected 2, 3 or 4.* got 2.0"),
    (lambda: msda.Mixup(n=3, scope="pair"), "n: expected 2 .* got 3"),
    (lambda: msda.Mixup(n=3, partner="flip"), "n: expected 2 .* got 3"),
    (lambda: msda.Mixup(prob=1.5), "prob: expected .* got 1.5"),
    (lambda: msda.Mixup(prob=NAN), "prob: expected .* got nan"),
    (lambda: msda.Mixup(scope="elem"), "scope: expected .*'sample'.*'pair'.*'batch'.* got 'elem'"),
    (lambda: msda.Mixup(partner="shuffle"), "partner: expected .*'permutation'.* got 'shuffle'"),
    (lambda: msda.Mixup(partner=["flip"]), "partner: expected .* got"),
    (lambda: msda.Mixup(scope="pair", partner="roll"), "partner: expected .* got 'roll'"),
    (lambda: msda.CutMix(scope="pair", partner="derangement"), "partner: expected .* got 'derang"),
    (lambda: msda.CutMix(box="minmax"), "box: expected .* got 'minmax'"),
    (lambda: msda.CutMix(box=None), "box: expected .* got None"),
    (lambda: msda.CutMix(minmax=0.5), "minmax: expected .* got 0.5"),
    (lambda: msda.CutMix(minmax=(0.5,)), "minmax: expected .* got"),
    (lambda: msda.CutMix(minmax=(0.8, 0.2)), "minmax: expected .* got"),
    (lambda: msda.CutMix(minmax=(0, 0.2)), "minmax: expected .* got"),
    (lambda: msda.CutMix(minmax=(0.2, 1.1)), "minmax: expected .* got 1.1"),
    (lambda: msda.CutMix(minmax=(0.2, NAN)), "minmax: expected .* got nan"),
    (lambda: msda.FMix(decay=-0.5), "decay: expected .* got -0.5"),
    (lambda: msda.FMix(decay=10.5), r"decay: expected .*10.* got 10.5"),
    (lambda: msda.FMix(decay=NAN), "decay: expected .* got nan"),
    (lambda: msda.FMix(decay="3"), "decay: expected .* got '3'"),
    (lambda: msda.FMix(law="code"), "law: expected .*'paper'.*'legacy'.* got 'code'"),
    (lambda: msda.FMix(max_soft=0.6), "max_soft: expected .* got 0.6"),
    (lambda: msda.FMix(max_soft=-1e-9), "max_soft: expected .* got -1e-09"),
    (lambda: msda.FMix(rounding="floor"), "rounding: expected .*'stochastic'.* got 'floor'"),
    (lambda: msda.FMix(reformulate=1), "reformulate: expected True or False, got 1"),
    (lambda: msda.FMix(modes=0), "modes: expected .* got 0"),
    (lambda: msda.FMix(modes=2**31), "modes: expected .* got 2147483648"),
    (lambda: msda.FMix(modes=2.0), "modes: expected .* got 2.0"),
    (lambda: msda.FMix(modes=True), "modes: expected .* got True"),
    (lambda: msda.FMix(modes=8, law="legacy"), "modes: expected None with law='legacy'"),
    (lambda: msda.HMix(r=1.5), "r: expected .* got 1.5"),
    (lambda: msda.HMix(r=NAN), "r: expected .* got nan"),
    (lambda: msda.HMix(r=None), "r: expected .* got None"),
    (lambda: msda.HMix(gamma=0.0), "gamma: expected .* got 0.0"),
    (lambda: msda.HMix(gamma=101), "gamma: expected .* got 101"),
    (lambda: msda.HMix(mode="paper"), "mode: expected .*'exact'.*'nominal'.* got 'paper'"),
    (lambda: msda.HMix(box="minmax"), "box: expected .* got 'minmax'"),
    (
        lambda: msda.GMix(mode="nominal"),
        "mode: expected .*'code'.*'paper'.*'exact'.* got 'nominal'",
    ),
    (lambda: msda.GMix(mode=None), "mode: expected .* got None"),
    (lambda: msda.ResizeMix(tau=0.5), "tau: expected .* got 0.5"),
    (lambda: msda.ResizeMix(tau=(0.8, 0.1)), "tau: expected .* got"),
    (lambda: msda.ResizeMix(tau=(0.0, 0.1)), "tau: expected .* got"),
    (lambda: msda.ResizeMix(tau=(0.1, 1.1)), "tau: expected .* got 1.1"),
    (lambda: msda.ResizeMix(tau=(0.1, 0.2, 0.3)), "tau: expected .* got"),
    (lambda: msda.Cutout(length=0), "length: expected .* got 0"),
    (lambda: msda.Cutout(length=2.5), "length: expected .* got 2.5"),
    (lambda: msda.Cutout(length=True), "length: expected .* got True"),
    (lambda: msda.Cutout(length=2**31), "length: expected .* got 2147483648"),
    (lambda: msda.FMix(scope="pair", partner="roll"), "partner: expected .* got 'roll'"),
    (lambda: msda.GMix(n=3), "n"),
    (lambda: msda.Choice([]), "policies: expected .* got"),
    (lambda: msda.Choice(MIXUP), "policies: expected .* got"),
    (lambda: msda.Choice(["mixup"]), r"policies\[0\]: expected .* got 'mixup'"),
    (lambda: msda.Choice([MIXUP, msda.Mixup]), r"policies\[1\]: expected .* got"),
    (lambda: msda.Choice([msda.Choice([MIXUP])]), r"policies\[0\]: expected .* got"),
    (lambda: msda.Choice([MIXUP, CUTMIX], weights=[1]), "weights: expected 2.* got 1"),
    (lambda: msda.Choice([MIXUP, CUTMIX], weights=[1, 0]), "weights: expected .* got 0"),
    (lambda: msda.Choice([MIXUP, CUTMIX], weights=[1, NAN]), "weights: expected .* got nan"),
    (lambda: msda.Choice([MIXUP, CUTMIX], weights=[1, INF]), "weights: expected .* got inf"),
    (lambda: msda.Choice([MIXUP, CUTMIX], weights=[1, "x"]), "weights: expected .* got 'x'"),
    (lambda: msda.Choice([MIXUP, CUTMIX], weights=3), "weights: expected .* got 3"),
    (lambda: msda.Choice([MIXUP], scope="all"), "scope: expected .* got 'all'"),
    (lambda: msda.Choice([MIXUP, CUTMIX], scope="pair"), "scope: expected .* got 'pair'"),
    (lambda: msda.Alternate([]), "policies: expected .* got"),
    (lambda: msda.Alternate([msda.Alternate([MIXUP])]), r"policies\[0\]: expected .* got"),
    (lambda: msda.Alternate([MIXUP], counts=[1, 2]), "counts: expected 1.* got 2"),
    (lambda: msda.Alternate([MIXUP], counts=[0]), "counts: expected .* got 0"),
    (lambda: msda.Alternate([MIXUP], counts=[1.5]), "counts: expected .* got 1.5"),
    (lambda: msda.Alternate([MIXUP], counts=2), "counts: expected .* got 2"),
]


@pytest.mark.parametrize("make, message", REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_drawn_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_policies_take_keywords_only():
    """``CutMix(0.5)`` could be read as alpha or as a probability."""
    with pytest.raises(TypeError):
        msda.CutMix(0.5)
    with pytest.raises(TypeError, match="alhpa"):
        msda.CutMix(alhpa=0.5)


def test_a_long_alternation_and_many_leaves():
    many = msda.Alternate([msda.Choice([MIXUP, CUTMIX] * 50)] * 20, counts=[1000] * 20)
    for step in (0, 999, 1000, 19_999, 20_000, 2**32 - 1):
        plan = msda.draw(many, 50, 4, 4, seed=0, step=step)
        assert (plan["leaf"] // 100 == step % 20_000 // 1000).all()


def test_sums_of_counts_beyond_32_bits_are_no_trap():
    """300 stages of 2**24 - 1 batches: more batches than a step can count."""
    policy = msda.Alternate([MIXUP] * 300, counts=[2**24 - 1] * 300)
    for step in (0, 2**24 - 1, 2**31, 2**32 - 1):
        plan = msda.draw(policy, 2, 4, 4, seed=0, step=step)
        assert (plan["leaf"] == step // (2**24 - 1)).all()
