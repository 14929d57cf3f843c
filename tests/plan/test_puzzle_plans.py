"""Plans of Puzzle Mix: drawn, kept in files, solved again; and nothing mixes by one alone."""

from dataclasses import replace

import numpy as np
import pytest

import dali_msda as msda
from dali_msda import puzzle
from dali_msda.policy import METHODS
from dali_msda.record import OWN_LABEL, SOLVED

B, SIZE = 6, 16
RNG = np.random.default_rng(0)
IMAGES = RNG.random((B, SIZE, SIZE, 3), np.float32)
MAPS = RNG.random((B, SIZE, SIZE), np.float32) ** 8
POLICY = msda.PuzzleMix(blocks=(4, 8), cell=2, places=8, move_cost=0.1, prob=0.6)
KEY = dict(seed=4, step=5)


def drawn(policy=POLICY, **key):
    return msda.draw(policy, B, SIZE, SIZE, **KEY | key)


def solved(plan, **how):
    return puzzle.solve(IMAGES, MAPS, plan, **{"settings": POLICY} | how)


def test_numbers_of_blocks_are_those_that_were_drawn_before_plans_had_them():
    plans = [msda.draw(msda.PuzzleMix(), 2, 16, 16, seed=7, rank=3, step=s) for s in range(12)]
    wanted = [16, 2, 16, 16, 2, 8, 8, 2, 8, 16, 8, 4]
    assert [plan["modes"].tolist() for plan in plans] == [[count] * 2 for count in wanted]


@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: msda.MultiMix(p, 3)], ids=["one", "k"])
def test_all_else_is_as_mixup_draws_it(wrap):
    plan, mixup = drawn(wrap(POLICY)), drawn(wrap(msda.Mixup(prob=0.6)))
    for name in ("sources", "own", "partner", "weight", "partner_weight", "lam", "leaf"):
        np.testing.assert_array_equal(plan[name], mixup[name])
    mixed = plan["sources"] == 2
    assert mixed.any() and not mixed.all()
    assert (plan["method"] == np.where(mixed, METHODS["puzzlemix"].code, 0)).all()
    assert len(set(plan["modes"][mixed])) == 1 and not plan["modes"][~mixed].any()


def test_a_plan_from_a_file_is_solved_to_the_same_bits(tmp_path):
    plan = drawn(msda.MultiMix(POLICY, 3))
    msda.save(tmp_path / "plan.npy", plan)
    first, again = solved(plan), solved(msda.load(tmp_path / "plan.npy"))
    np.testing.assert_array_equal(first.plan, again.plan)
    np.testing.assert_array_equal(first.cells, again.cells)
    np.testing.assert_array_equal(msda.blend(IMAGES, first), msda.blend(IMAGES, again))
    np.testing.assert_array_equal(solved(first.plan).plan, first.plan)  # one that is solved already
    assert (np.diff(first.mask(SIZE, SIZE), axis=1) <= 0).all()
    by_hand = drawn(msda.MultiMix(msda.Mixup(prob=0.6), 3))
    other = solved(by_hand, blocks=int(plan["modes"].max()))
    np.testing.assert_array_equal(first.cells, other.cells)
    np.testing.assert_array_equal(first.plan["weight"], other.plan["weight"])


def test_verbs_take_a_solution_in_place_of_the_plan():
    found, labels = solved(drawn()), np.arange(B)
    weights = msda.mask(found, SIZE, SIZE)
    np.testing.assert_array_equal(weights, found.mask(SIZE, SIZE))
    rows = msda.targets(labels, found, num_classes=B)
    np.testing.assert_array_equal(rows, msda.targets(labels, found.plan, num_classes=B))
    np.testing.assert_allclose(rows[labels, labels], weights.mean((1, 2)), atol=1e-6)
    mixed = msda.blend(IMAGES, found)
    np.testing.assert_array_equal(mixed, puzzle.blend(IMAGES, found))
    how, out = dict(mean=0.5, std=0.25), np.empty((B, 3, SIZE, SIZE), np.float32)
    assert msda.blend(IMAGES, found, layout="CHW", out=out, **how) is out
    np.testing.assert_allclose(out, (mixed.transpose(0, 3, 1, 2) - 0.5) / 0.25, atol=1e-5)
    planar = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(msda.blend(planar, found, layout="CHW", **how), out)
    np.testing.assert_array_equal(msda.values(np.eye(B, dtype=np.float32), found.plan), rows)


PIXELS = {
    "blend": lambda plan: msda.blend(IMAGES, plan),
    "mask": lambda plan: msda.mask(plan, SIZE, SIZE),
    "boxes": lambda plan: msda.boxes([np.zeros((1, 4))] * B, [[0]] * B, plan),
    "segmentation": lambda plan: msda.segmentation(np.zeros((B, SIZE, SIZE), np.uint8), plan),
}
LABELS = {
    "targets": lambda plan: msda.targets(np.arange(B), plan, num_classes=B),
    "values": lambda plan: msda.values(np.zeros(B, np.float32), plan),
}


@pytest.mark.parametrize("name", PIXELS | LABELS)
def test_nothing_follows_from_a_plan_without_its_masks(name):
    """Nor pixels from one that is solved: its masks are in the solution."""
    use, after = (PIXELS | LABELS)[name], solved(drawn()).plan
    use(drawn(msda.Mixup()))
    for plan in (drawn(), after) if name in PIXELS else (drawn(),):
        with pytest.raises(
            ValueError, match=r"plan\[\d\]: .* puzzlemix, .* call dali_msda.puzzle.so"
        ):
            use(plan)
    if name in LABELS:
        use(after)


def test_lamix_over_puzzle_mix_takes_turns_of_originals_and_masks_of_one_half():
    policy = msda.Alternate([msda.Mixup(prob=0.0), replace(POLICY, prior_lam=0.5)])
    originals, pairs = drawn(policy, step=4), drawn(policy, step=5)
    assert not originals["method"].any()
    np.testing.assert_array_equal(msda.blend(IMAGES, solved(originals)), IMAGES)
    mixed, mixup = pairs["sources"] == 2, drawn(msda.Mixup(prob=0.6))
    assert (pairs["lam"][mixed] == 0.5).all() and (pairs["flags"][mixed] & OWN_LABEL).all()
    np.testing.assert_array_equal(pairs["weight"], mixup["weight"])
    rows = msda.targets(np.arange(B), pairs, num_classes=B)  # which do not wait for the masks
    found = solved(pairs)
    np.testing.assert_array_equal(msda.targets(np.arange(B), found, num_classes=B), rows)
    assert (found.plan["flags"][mixed] & SOLVED).all()
    other = solved(mixup, blocks=int(pairs["modes"].max()), prior_lam=0.5)
    np.testing.assert_array_equal(found.cells, other.cells)


@pytest.mark.parametrize(
    "policy, how, error, text",
    [
        (POLICY, dict(settings=None), TypeError, "settings: expected the PuzzleMix that drew the"),
        (POLICY, dict(settings="x"), TypeError, "settings: expected PuzzleSettings or a PuzzleMix"),
        (msda.Mixup(), {}, TypeError, "blocks: expected 2 to 16 along each side, .* got None"),
        (POLICY, dict(settings=msda.PuzzleMix(levels=2)), ValueError, "other levels or another"),
        (POLICY, dict(settings=msda.PuzzleMix(transport=False)), ValueError, "another transport"),
        (POLICY, dict(blocks=4), ValueError, "blocks: expected None with records of PuzzleMix"),
        (POLICY, dict(prior_lam=0.5), ValueError, "prior_lam: expected None with records of Puzz"),
        (msda.CutMix(), dict(blocks=4), ValueError, "plan: expected .* mixup, got one of cutmix"),
    ],
)
def test_what_cannot_be_solved(policy, how, error, text):
    with pytest.raises(error, match=text):
        solved(drawn(policy), **how)


def test_a_plan_of_two_batches_is_refused():
    """Their masks have other numbers of blocks."""
    plan = drawn(msda.PuzzleMix(blocks=(4,)))
    plan["modes"][1] = 8
    with pytest.raises(ValueError, match="settings: .* or a plan of several numbers of blocks"):
        solved(plan)


def test_options_that_a_solution_has_no_room_for():
    found = solved(drawn())
    with pytest.raises(ValueError, match="mirror: expected None with a solution of Puzzle Mix"):
        msda.blend(IMAGES, found, mirror=np.ones(B, bool))
    with pytest.raises(ValueError, match="out: expected None with a solution of Puzzle Mix"):
        msda.mask(found, SIZE, SIZE, out=np.empty((B, SIZE, SIZE), np.float32))
    with pytest.raises(ValueError, match="out: expected memory apart from the images'"):
        msda.blend(IMAGES, found, out=IMAGES)


@pytest.mark.parametrize(
    "fields, text",
    [
        (dict(modes=0), "modes: expected 2 to 16 blocks along each side for puzzlemix, got 0"),
        (dict(modes=1), "modes: expected 2 to 16 blocks .* got 1"),
        (dict(modes=17), "modes: expected 2 to 16 blocks .* got 17"),
        (dict(soft=0), "count, soft: expected 0 and 1 to 3 for puzzlemix, got 0, 0"),
        (dict(soft=4), "count, soft: expected 0 and 1 to 3 for puzzlemix, got 0, 4"),
        (dict(count=5), "count, soft: expected 0 and 1 to 3 for puzzlemix, got 5, 2"),
        (dict(depth=2), "depth: expected 1 for methods other than mixup and fmix, got 2"),
        (dict(sources=3), "sources: expected at most 2 for method 10, got 3"),
        (dict(flags=64), "flags: expected a sum of 1, 4, 8, 16 and 32, got 64"),
    ],
    ids=str,
)
def test_damaged_records_are_refused(fields, text):
    plan = drawn(msda.PuzzleMix(blocks=(4,)))
    for name, value in fields.items():
        plan[name][2] = value
    with pytest.raises(ValueError, match=rf"plan\[2\]: {text}"):
        solved(plan)


def test_who_mixes_without_the_model_refuses_the_policy():
    text = "got PuzzleMix.*; mix in the training step, with dali_msda.torch.PuzzleMix or the"
    with pytest.raises(ValueError, match=f"policy: expected .* no gradients of the model, {text}"):
        msda.mix(IMAGES, np.arange(B), POLICY, num_classes=B, **KEY)
    with pytest.raises(ValueError, match=r"policies\[1\]: expected .* whole batches; use Altern"):
        msda.Choice([msda.CutMix(), POLICY])
    for policy in (msda.MultiMix(POLICY), msda.Alternate([msda.CutMix(), POLICY])):
        assert policy.needs_gradients
    assert not msda.LaMix().needs_gradients


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: msda.PuzzleMix(blocks=(1,)), "blocks: expected 2 to 16 along each side, .* got 1"),
        (lambda: msda.PuzzleMix(blocks=[2] * 8), "blocks: expected up to 7 numbers, got"),
        (lambda: msda.PuzzleMix(blocks=4), r"blocks: expected numbers such as \(2, 4, 8, 16\)"),
        (lambda: msda.PuzzleMix(prior_lam=2), r"prior_lam: expected a number in \[0, 1\], got 2"),
        (lambda: msda.PuzzleMix(eta=2.0), r"eta: expected a number in \[0, 1\], got 2.0"),
        (lambda: msda.PuzzleMix(alpha=0), "alpha: expected"),
    ],
)
def test_settings_that_are_refused(make, text):
    with pytest.raises((TypeError, ValueError), match=text):
        make()
