"""The records of a policy: their numbers are the kernels' own, and damaged ones are refused."""

import ctypes
import re

import numpy as np
import pytest

import dali_msda as msda
from dali_msda import build
from dali_msda.backends import cpu
from dali_msda.policy import METHODS, POLICIES, TRAIT_BITS, TRAITS, Leaf, base, has_trait, words
from tests.support.variants import DRAWN, IN_LOADERS, make, name_of, peaks_for

HEADER = (build.KERNELS / "msda/policy.h").read_text()
ENUMS = {
    "Scope": words.SCOPES,
    "Partner": words.PARTNERS,
    "Box": words.BOXES,
    "Rounding": words.ROUNDINGS,
    "Mode": {f"{method} {word}": n for method, w in words.MODES.items() for word, n in w.items()},
    "Trait": TRAIT_BITS,
}


def refusal(leaves, interpolations=1):
    """What the kernels' check says of a policy's records, or None."""
    text = ctypes.create_string_buffer(256)
    check = cpu.library().msda_check_policy
    wrong = check(leaves.ctypes.data, len(leaves), interpolations, text, len(text))
    return None if wrong < 0 else f"policy[{wrong}]: {text.value.decode()}"


@pytest.mark.parametrize("kind", ENUMS)
def test_words_have_the_numbers_of_the_header(kind):
    content = re.search(rf"enum Msda{kind} : int32_t {{(.*?)}};", HEADER, re.DOTALL)[1]
    prefix = "k" if kind in ("Mode", "Trait") else f"k(?:{kind}|Round)"
    found = re.findall(rf"{prefix}(\w+) = (\d+)", content)
    plain = {re.sub("[ _]", "", word): number for word, number in ENUMS[kind].items()}
    assert {name.lower(): int(number) for name, number in found} == plain


def test_methods_have_their_names():
    name_of_method = cpu.library().msda_method_name
    names = {name_of_method(card.code).decode(): card.code for card in METHODS.values()}
    assert names == {name: card.code for name, card in METHODS.items()}
    assert name_of_method(0) == b"none"
    assert name_of_method(-1) is None and name_of_method(len(METHODS) + 1) is None


def test_leaves_have_the_traits_of_their_cards():
    assert base.LEAF_DTYPE.itemsize == 128
    leaves = np.concatenate([kind().leaves() for kind in POLICIES.values()])
    assert set(TRAIT_BITS) <= set(TRAITS)
    for trait in TRAIT_BITS:
        expected = [trait in METHODS[name].traits for name in POLICIES]
        bits = (leaves["traits"] & TRAIT_BITS[trait]) != 0
        assert bits.tolist() == has_trait(leaves, trait).tolist() == expected and any(expected)


def test_what_policies_say_of_themselves():
    both = msda.Choice([msda.Mixup(n=3), msda.SaliencyMix()])
    assert (both.max_sources, both.needs_peaks, both.takes_turns) == (3, True, False)
    turns = msda.MultiMix(msda.Alternate([msda.CutMix(), msda.Mixup()]))
    assert (turns.max_sources, turns.needs_peaks, turns.takes_turns) == (2, False, True)
    assert msda.LaMix().takes_turns and not msda.Alternate([msda.Mixup()]).takes_turns


@pytest.mark.parametrize("case", DRAWN, ids=name_of)
def test_what_policies_make_is_accepted(case):
    policy = make(case)
    pairs = make(case, scope="pair") if "n" not in case[1] else policy
    scope = "pair" if "n" not in case[1] else "batch"
    choice = pairs
    if case[0] in IN_LOADERS:
        choice = msda.Choice([pairs, pairs], weights=[1e-3, 7], scope=scope)
    for every in (policy, choice, msda.Alternate([choice, policy] * 50, [2**24 - 1, 1] * 50)):
        assert refusal(every.leaves()) is None
    fits = msda.MultiMix(policy) if refusal(policy.leaves(), 2) is None else None
    assert (fits is None) == (case[0] == "cutout" or "n" in case[1] or "minmax" in case[1])


MIXUP, CUTMIX, FMIX, HMIX = msda.Mixup(), msda.CutMix(), msda.FMix(), msda.HMix()
PUZZLE = msda.PuzzleMix()
NAN = float("nan")
PAST = len(METHODS) + 1  # the first number that no method has
DAMAGED = {
    "version": (CUTMIX, dict(version=0), "version: expected 1, got 0"),
    "method": (
        CUTMIX,
        dict(method=PAST),
        rf"method: expected a number in \[1, {PAST}\), got {PAST}",
    ),
    "none": (CUTMIX, dict(method=0), rf"method: expected a number in \[1, {PAST}\), got 0"),
    "scope": (CUTMIX, dict(scope=3), r"scope: expected a number in \[0, 2\], got 3"),
    "partner": (CUTMIX, dict(partner=-1), r"partner: expected a number in \[0, 3\], got -1"),
    "box": (CUTMIX, dict(box=4), r"box: expected a number in \[0, 3\], got 4"),
    "minmax of hmix": (HMIX, dict(box=3), r"box: expected a number in \[0, 2\], got 3"),
    "choice": (CUTMIX, dict(choice=3), r"choice: expected a number in \[0, 2\], got 3"),
    "alpha": (CUTMIX, dict(alpha=0), r"alpha: expected a value in \[0.01, 100\], got 0"),
    "alpha nan": (CUTMIX, dict(alpha=NAN), r"alpha: expected a value in \[0.01, 100\], got -?nan"),
    "prob": (CUTMIX, dict(prob=1.5), r"prob: expected a value in \[0, 1\], got 1.5"),
    "sources": (MIXUP, dict(sources=5), "sources: expected 2, or 2 to 4 for mixup, got 5"),
    "source": (MIXUP, dict(sources=1), "sources: expected 2, or 2 to 4 for mixup, got 1"),
    "sources of cutmix": (CUTMIX, dict(sources=3), "sources: expected 2, or 2 to 4 for mixup"),
    "sources, flip": (MIXUP, dict(sources=3, partner=2), "sources: expected 2 with .* got 3"),
    "sources, pairs": (MIXUP, dict(sources=3, scope=1), "sources: expected 2 with .* got 3"),
    "sources, mean": (MIXUP, dict(sources=3, mode=1), "sources: expected 2 with .*average.* got 3"),
    "pairs": (CUTMIX, dict(scope=1, partner=3), "partner: expected permutation or flip .* got 3"),
    "minmax": (
        msda.CutMix(minmax=(0.2, 0.8)),
        dict(min_side=0.9),
        "min_side, max_side: expected 0 < low <= high <= 1, got 0.9, 0.8",
    ),
    "tau": (msda.ResizeMix(), dict(max_side=1.5), "min_side, max_side: .* got 0.1, 1.5"),
    "tau nan": (msda.ResizeMix(), dict(min_side=NAN), "min_side, max_side: .* got -?nan, 0.8"),
    "count": (CUTMIX, dict(count=0), "count: expected at least 1 batch .* got 0"),
    "long count": (CUTMIX, dict(count=2**24), r"count: .* fewer than 2\^24, got 16777216"),
    "first stage": (CUTMIX, dict(stage=1), "stage: expected 0 at first, got 1"),
    "share of 0": (CUTMIX, dict(share=0), r"share: expected a value in \(0, 1\], got 0"),
    "share": (CUTMIX, dict(share=0.5), "share: expected a sum of 1 in stage 0, got 0.5"),
    "share nan": (CUTMIX, dict(share=NAN), r"share: expected a value in \(0, 1\], got -?nan"),
    "choice of pairs": (CUTMIX, dict(choice=1), "choice: expected that of samples .* got 1"),
    "r": (HMIX, dict(r=1.5), r"r: expected a value in \[0, 1\], got 1.5"),
    "gamma": (HMIX, dict(r_gamma=-1), r"r_gamma: expected a value in \[0.01, 100\], got -1"),
    "mode of hmix": (HMIX, dict(mode=2), r"mode: expected a number in \[0, 1\], got 2"),
    "mode of gmix": (msda.GMix(), dict(mode=3), r"mode: expected a number in \[0, 2\], got 3"),
    "mode of cutmix": (CUTMIX, dict(mode=1), r"mode: expected a number in \[0, 0\], got 1"),
    "decay": (FMIX, dict(decay=-1), r"decay: expected a value in \[0, 10\], got -1"),
    "max_soft": (FMIX, dict(max_soft=0.7), r"max_soft: expected a value in \[0, 0.5\], got 0.7"),
    "rounding": (FMIX, dict(rounding=3), r"rounding: expected a number in \[0, 2\], got 3"),
    "reformulate": (FMIX, dict(reformulate=2), r"reformulate: expected a number in \[0, 1\]"),
    "modes": (FMIX, dict(modes=-1), r"modes: expected at least 0 \(all\), .* got -1"),
    "legacy modes": (FMIX, dict(modes=3, mode=1), "modes: .* 0 with the legacy law, got 3"),
    "length": (msda.Cutout(), dict(length=0), "length: expected at least 1 pixel, got 0"),
    "no blocks": (PUZZLE, dict(modes=0), "modes: expected up to 7 numbers of blocks .* got 0"),
    "one block": (
        PUZZLE,
        dict(modes=0x301),
        "modes: expected up to 7 numbers of blocks .* got 769",
    ),
    "8 numbers": (PUZZLE, dict(modes=0x11111111), "modes: expected up to 7 numbers of blocks"),
    "1 level": (PUZZLE, dict(length=1), "length: expected 2 to 4 own weights .* got 1"),
    "levels": (PUZZLE, dict(length=5), "length: expected 2 to 4 own weights .* got 5"),
    "mode of puzzlemix": (PUZZLE, dict(mode=2), r"mode: expected a number in \[0, 1\], got 2"),
    "traits": (CUTMIX, dict(traits=16), r"traits: expected a number in \[0, 15\], got 16"),
    "peaks": (msda.SaliencyMix(), dict(traits=0), "traits: expected that of needing peaks"),
}


@pytest.mark.parametrize("policy, fields, expected", DAMAGED.values(), ids=DAMAGED)
def test_damaged_records_are_refused(policy, fields, expected):
    leaves = policy.leaves()
    for name, value in fields.items():
        leaves[name] = value
    assert re.fullmatch(rf"policy\[0\]: {expected}.*", refusal(leaves)), refusal(leaves)


@pytest.mark.parametrize(
    "field, values, expected",
    [
        ("stage", [0, 2], r"policy\[1\]: stage: expected 0 or 1, got 2"),
        ("count", [1, 2], r"policy\[1\]: count, choice: expected 1, 0 .* stage 0, got 2, 0"),
        ("choice", [0, 2], r"policy\[1\]: count, choice: expected 1, 0 .* stage 0, got 1, 2"),
        ("share", [0.5, 0.6], r"policy\[1\]: share: expected a sum of 1 in stage 0, got 1.1"),
    ],
)
def test_stages_follow_each_other_and_their_leaves_agree(field, values, expected):
    join = msda.Alternate if field == "stage" else msda.Choice
    leaves = join([MIXUP, CUTMIX]).leaves()
    leaves[field] = values
    assert re.fullmatch(expected, refusal(leaves))


def test_choices_of_pairs_need_the_same_pairs():
    flipped = msda.Choice([msda.Mixup(scope="pair", partner="flip")] * 2, scope="pair").leaves()
    flipped["partner"][1] = words.PARTNERS["permutation"]
    assert refusal(flipped).startswith("policy[1]: partner: expected 2 as in the rest of stage 0")


def test_interpolations_need_two_samples_and_a_lambda():
    for policy in (msda.Mixup(n=3), msda.Cutout(), msda.CutMix(minmax=(0.2, 0.8))):
        assert "interpolations: expected 1 for a method that" in refusal(policy.leaves(), 2)
        assert refusal(policy.leaves()) is None
    assert refusal(CUTMIX.leaves(), 64) is None


EXTREMES = [-(2**31), -1, 0, 1, 2, 3, 2**24, 2**31 - 1]
REALS = [NAN, float("inf"), -float("inf"), -1.0, 0.0, 1e-308, 0.01, 0.5, 1.0, 100.0, 1e308]


def test_whatever_passes_can_be_drawn():
    """Records with fields overwritten at random: refused, or their plans are good ones."""
    rng = np.random.default_rng(0)
    policies = [make(case) for case in DRAWN]
    policies += [msda.Choice([FMIX, CUTMIX]), msda.Alternate([HMIX, msda.Choice([MIXUP, FMIX])])]
    sound = 0
    for _ in range(4000):
        leaves = policies[rng.integers(len(policies))].leaves()
        for _ in range(rng.integers(1, 4)):
            name = rng.choice(base.LEAF_DTYPE.names)
            values = REALS if base.LEAF_DTYPE[name].kind == "f" else EXTREMES
            if base.LEAF_DTYPE[name].kind == "u":
                values = range(PAST)
            leaves[name][rng.integers(len(leaves))] = rng.choice(values)
        if refusal(leaves) is None:
            sound += 1
            plans = np.zeros(5, msda.PLAN_DTYPE)
            cpu.draw(
                plans, leaves, shape=(1, 9, 13), seed=1, step=2, rank=0, distinct=5,
                shares_lam=False, ids=None, lam=None, peaks=peaks_for(msda.SaliencyMix(), 5, 9, 13),
            )  # fmt: skip
            assert cpu.check(plans, 5, (9, 13)) is None, leaves
    assert 500 < sound < 3500  # both ends are tried


def test_the_base_of_the_methods_is_public():
    assert all(issubclass(kind, Leaf) for kind in POLICIES.values())
