"""Plans equal the definitions field by field, and depend on nothing but what they should."""

import itertools

import numpy as np
import pytest

import dali_msda as msda
from dali_msda.policy import METHODS
from tests.reference import mixing as reference
from tests.support.oracle import assert_same_plan
from tests.support.variants import CASES, DRAWN, draw_any, make, name_of, peaks_for

SCOPES = ("sample", "pair", "batch")
RULES = ("permutation", "derangement", "flip", "roll")
SHARED_BY = [
    *itertools.product(("sample", "batch"), RULES),
    ("pair", "permutation"),
    ("pair", "flip"),
]
SIZES = [(1, 1), (1, 9), (7, 5), (13, 17), (32, 32), (31, 224)]
BATCHES = (1, 2, 3, 17)
SHAPES = list(zip(SIZES, itertools.cycle(BATCHES))) + [((6, 8), batch) for batch in BATCHES]
WHAT_IS_DRAWN = [name for name in msda.PLAN_DTYPE.names if name not in ("own", "partner", "extra")]
TAKE_LAMBDA = [case for case in CASES if "minmax" not in case[1] and "n" not in case[1]]


def assert_follows_the_definitions(policy, batch, height, width, *, lam=None, **key):
    """Compares every field of a drawn plan with the oracle's; returns the plan."""
    plan = draw_any(policy, batch, height, width, lam=lam, **key)
    given, peaks = lam is not None, peaks_for(policy, batch, height, width)
    want = reference.draw(policy, batch, height, width, drawn=plan, given=given, peaks=peaks, **key)
    assert_same_plan(plan, want)
    if given:
        mixed = plan["sources"] > 1
        given = np.broadcast_to(np.float32(lam), batch)
        np.testing.assert_array_equal(plan["lam"][mixed], given[mixed])
    return plan


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    (height, width), batch = request.param
    return batch, height, width


@pytest.mark.parametrize("scope, partner", SHARED_BY)
def test_every_scope_and_partner(shape, scope, partner):
    for step, case in enumerate(DRAWN):
        if "n" in case[1] and (scope == "pair" or partner == "flip"):
            continue
        common = {"scope": scope, "partner": partner, "prob": (0.0, 0.5, 1.0, 1.0)[step % 4]}
        assert_follows_the_definitions(make(case, **common), *shape, seed=3, step=step)


@pytest.mark.parametrize("case", TAKE_LAMBDA, ids=name_of)
def test_given_lambda(shape, case):
    for lam in (0.0, 1e-3, 0.25, 0.5, 0.75, 1 - 2**-24, 1.0):
        assert_follows_the_definitions(make(case), *shape, lam=lam, seed=5, step=0)


@pytest.mark.parametrize("case", TAKE_LAMBDA, ids=name_of)
def test_lambda_given_by_sample(case):
    lam = np.linspace(0, 1, 17)
    assert_follows_the_definitions(make(case), 17, 20, 30, lam=lam, seed=6, step=0)


@pytest.mark.parametrize("alpha", [0.01, 0.3, 1.0, 7.0, 100.0])
@pytest.mark.parametrize("make_policy", [msda.Mixup, msda.FMix, msda.HMix, msda.GMix])
def test_lambda_itself(make_policy, alpha):
    """The oracle draws it too; a Gamma variable is a chain of rejections."""
    for settings in [{}] + [{"reformulate": True}] * (make_policy is msda.FMix):
        policy = make_policy(alpha=alpha, **settings)
        drawn = msda.draw(policy, 30, 8, 8, seed=13, step=4)["lam"]
        want = [reference.nominal_lambda(policy, seed=13, step=4, identity=i) for i in range(30)]
        np.testing.assert_allclose(drawn, want, rtol=1e-6, atol=1e-45)


def test_box_sides_at_the_rounding_trap():
    """``1 - (k / n)^2`` in floating point is where a recomputed side would be off by one."""
    for n in (32, 64, 224):
        lam = 1 - (np.arange(n + 1) / n) ** 2
        for box in ("clip", "inside", "wrap"):
            policy = msda.CutMix(box=box)
            assert_follows_the_definitions(policy, n + 1, n, n, lam=lam, seed=7, step=0)


@pytest.mark.parametrize("n", [3, 4])
@pytest.mark.parametrize("partner", ["permutation", "derangement", "roll"])
@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_more_sources(n, partner, scope):
    policy = msda.Mixup(n=n, partner=partner, scope=scope, alpha=0.7, prob=0.8)
    for batch, step in itertools.product(BATCHES, range(3)):
        plan = assert_follows_the_definitions(policy, batch, 6, 8, seed=8, step=step)
        weights = label_weights(plan)
        np.testing.assert_allclose(weights.sum(1), 1, atol=3e-7)
        assert (weights >= 0).all() and (weights[:, n:] == 0).all()


def label_weights(plan):
    return np.column_stack([plan["weight"], plan["partner_weight"], plan["extra_weight"]])


@pytest.mark.parametrize("n", [3, 4])
@pytest.mark.parametrize("alpha", [0.01, 1.0])
@pytest.mark.parametrize("lam", [0.0, 0.25, 1.0])
def test_more_sources_with_a_given_lambda(n, alpha, lam):
    plan = msda.draw(msda.Mixup(n=n, alpha=alpha), 3000, 4, 4, seed=9, step=0, lam=lam)
    assert (plan["weight"] == np.float32(lam)).all() and (plan["lam"] == np.float32(lam)).all()
    np.testing.assert_allclose(label_weights(plan).sum(1), 1, atol=3e-7)


@pytest.mark.parametrize("step, sample", [(2, 469552), (26, 120119), (31, 263536), (51, 126621)])
def test_gamma_variables_that_underflow(step, sample):
    """Drawn with the first, the further weights of these samples are below 1e-308 of it."""
    policy = msda.Mixup(n=3, alpha=0.01)
    plan = msda.draw(policy, 1, 4, 4, seed=0, step=step, ids=[sample], lam=0.5)
    np.testing.assert_allclose(label_weights(plan).sum(1), 1, atol=3e-7)


@pytest.mark.parametrize("policy", [msda.Mixup(n=3), msda.CutMix(), msda.CutMix(scope="pair")])
@pytest.mark.parametrize("distinct", [1, 2, 4, 5])
def test_padding_is_not_mixed(policy, distinct):
    plan = assert_follows_the_definitions(policy, 5, 9, 9, seed=10, step=2, distinct=distinct)
    assert (plan["sources"][distinct:] == 1).all()
    assert (plan["partner"][:distinct] < distinct).all()


@pytest.mark.parametrize("choice, scope, partner", [
    *((choice, *shared) for choice in ("sample", "batch") for shared in SHARED_BY),
    ("pair", "pair", "permutation"),
    ("pair", "pair", "flip"),
])  # fmt: skip
def test_choice(shape, choice, scope, partner):
    common = {"scope": scope, "partner": partner}
    policies = [msda.CutMix(**common), msda.Mixup(prob=0.5, **common)]
    last = common if choice == "pair" else {}
    policies.append(msda.CutMix(box="wrap", alpha=0.3, **last))
    policy = msda.Choice(policies, weights=[0.5, 0.3, 0.2], scope=choice)
    for step in range(3):
        assert_follows_the_definitions(policy, *shape, seed=11, step=step)


def test_alternate_serves_whole_batches_in_turn():
    pair = msda.Choice([msda.CutMix(), msda.CutMix(box="inside")])
    policy = msda.Alternate([msda.Mixup(), pair, msda.Mixup(alpha=8.0)], counts=[2, 1, 3])
    leaves = [
        set(assert_follows_the_definitions(policy, 40, 8, 8, seed=12, step=step)["leaf"].tolist())
        for step in range(12)
    ]
    assert leaves == [{0}, {0}, {1, 2}, {3}, {3}, {3}] * 2
    every_other = msda.Alternate([msda.Mixup(), msda.CutMix()])
    for step in (0, 1, 2**32 - 1):
        plan = assert_follows_the_definitions(every_other, 3, 8, 8, seed=12, step=step)
        assert (plan["leaf"] == step % 2).all()


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1])
@pytest.mark.parametrize("rank", [0, 7, 2**32 - 1])
@pytest.mark.parametrize("step", [0, 2**32 - 1])
def test_extreme_keys(seed, rank, step):
    key = {"seed": seed, "step": step, "rank": rank}
    assert_follows_the_definitions(msda.CutMix(partner="derangement"), 6, 11, 13, **key)


def test_ids_replace_slots():
    ids = np.array([2**64 - 1, 0, 123456789012345, 7, 2**32], np.uint64)
    policies = [make(case) for case in DRAWN]
    for policy in (*policies, msda.Mixup(partner="derangement"), msda.CutMix(scope="batch")):
        assert_follows_the_definitions(policy, 5, 11, 13, seed=1, step=9, ids=ids)


def test_draws_follow_the_identity_and_nothing_else():
    """The same sample gets the same lambda and box wherever in whatever batch it stands."""
    policy = msda.Choice([make(case, alpha=0.4, prob=0.8) for case in CASES])
    ids = np.random.default_rng(0).permutation(1000)[:64]
    peaks = np.tile([11, 17], (64, 1))  # one for all, since partners change
    whole = msda.draw(policy, 64, 30, 40, seed=1, step=2, ids=ids, peaks=peaks)
    for chosen in (np.arange(64)[::-1], np.arange(1, 64, 3), np.array([5])):
        key = dict(seed=1, step=2, ids=ids[chosen], peaks=peaks[chosen])
        part = msda.draw(policy, len(chosen), 30, 40, **key)
        for field in WHAT_IS_DRAWN:
            np.testing.assert_array_equal(part[field], whole[field][chosen], err_msg=field)
    slots = msda.draw(policy, 64, 30, 40, seed=1, step=2, rank=3, peaks=peaks)
    ids = (3 << 32) + np.arange(64)
    named = msda.draw(policy, 64, 30, 40, seed=1, step=2, ids=ids, peaks=peaks)
    np.testing.assert_array_equal(slots, named)


def test_copies_of_a_sample_draw_each_for_itself():
    """As under repeated augmentation; the first copy draws what the sample draws alone."""
    ids = np.array([5, 5, 7, 5, 2**64 - 1, 7, 2**64 - 1, 0], np.uint64)
    key = dict(seed=3, step=4)
    for policy in (msda.CutMix(), msda.Mixup(prob=0.5), msda.GMix(partner="roll")):
        plan = msda.draw(policy, 8, 64, 64, ids=ids, **key)
        named = [msda.draw(policy, 1, 64, 64, ids=[i], **key)["lam"][0] for i in ids]
        first = [0, 2, 4, 7]
        np.testing.assert_array_equal(plan["lam"][first], np.array(named)[first])
    lams = msda.draw(msda.Mixup(), 300, 8, 8, ids=[9] * 300, **key)["lam"]
    assert len(np.unique(lams)) == 300
    partners = msda.draw(msda.Mixup(), 300, 8, 8, ids=[9] * 300, **key)["partner"]
    assert sorted(partners) == list(range(300)) and (partners != np.arange(300)).mean() > 0.9
    boxes = msda.draw(msda.CutMix(), 300, 224, 224, ids=[9] * 300, lam=0.5, **key)[["y0", "x0"]]
    assert len(np.unique(boxes)) > 200  # clipped at the border, some coincide


@pytest.mark.parametrize("case", [case for case in CASES if "n" not in case[1]], ids=name_of)
@pytest.mark.parametrize("partner", ["permutation", "flip"])
def test_scopes_share_what_is_drawn(case, partner):
    key = {"seed": 2, "step": 5, "peaks": np.tile([8, 5], (9, 1))}
    sample, batch, pair = (
        msda.draw(make(case, partner=partner, scope=scope), 9, 16, 16, **key)
        for scope in ("sample", "batch", "pair")
    )
    lower = np.minimum(np.arange(9), pair["partner"])
    np.testing.assert_array_equal(pair["partner"][pair["partner"]], np.arange(9))
    for field in WHAT_IS_DRAWN:
        assert (batch[field] == sample[field][0]).all(), field
        np.testing.assert_array_equal(pair[field], sample[field][lower], err_msg=field)
    assert len(np.unique(sample[WHAT_IS_DRAWN])) == 9
    if "erases" not in METHODS[case[0]].traits:
        assert len(set(sample["lam"])) == 9


@pytest.mark.parametrize("change", [{"seed": 1}, {"step": 1}, {"rank": 1}, {"seed": 2**32}])
def test_every_part_of_the_key_matters(change):
    key = {"seed": 0, "step": 0, "rank": 0}
    for policy in (msda.Mixup(), msda.CutMix()):
        a = msda.draw(policy, 64, 64, 64, **key)
        b = msda.draw(policy, 64, 64, 64, **{**key, **change})
        assert not np.isin(a["lam"], b["lam"]).any()
        assert (a["partner"] != b["partner"]).any()


def test_a_plan_is_repeatable_and_can_be_saved(tmp_path):
    policy = msda.Choice([msda.Mixup(n=4), msda.CutMix()])
    plan = msda.draw(policy, 33, 50, 60, seed=5, step=6)
    np.testing.assert_array_equal(plan, msda.draw(policy, 33, 50, 60, seed=5, step=6))
    msda.save(tmp_path / "plan", plan)
    np.testing.assert_array_equal(msda.load(tmp_path / "plan"), plan)


def test_the_record_is_160_bytes_and_versioned():
    assert msda.PLAN_DTYPE.itemsize == 160
    plan = msda.draw(msda.Mixup(), 2, 3, 4, seed=0, step=0)
    assert (plan["version"] == 1).all() and (plan["reserved"] == 0).all()
