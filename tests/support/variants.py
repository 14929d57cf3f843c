"""Settings of every method of the table, so that what holds for all is tested for all."""

import numpy as np

import dali_msda as msda
from dali_msda.policy import METHODS, POLICIES

# Of these methods more than their cards have.
MORE = {
    "mixup": [{}, {"n": 3}, {"n": 4}],
    "cutmix": [
        {"box": "clip"},
        {"box": "inside"},
        {"box": "wrap"},
        {"minmax": (0.2, 0.8)},
        {"minmax": (1e-9, 1.0)},
    ],
    "fmix": [
        {},
        {"law": "legacy", "decay": 2.0},
        {"max_soft": 0.3, "rounding": "stochastic"},
        {"rounding": "coin", "reformulate": True},
        {"modes": 3, "decay": 0.5},
    ],
    "hmix": [
        {},
        {"mode": "nominal", "box": "inside", "r": 0.9},
        {"gamma": 0.3, "box": "wrap"},
    ],
    "gmix": [{"mode": "code"}, {"mode": "paper"}, {"mode": "exact"}],
    "resizemix": [{}, {"tau": (0.5, 1.0)}],
    "saliencymix": [{"box": "clip"}, {"box": "inside"}, {"box": "wrap"}],
    "cutout": [{}, {"length": 5}],
}
VARIANTS = {name: MORE.get(name, card.variants) for name, card in METHODS.items()}
IN_LOADERS = {
    name: kind for name, kind in POLICIES.items() if "needs_gradients" not in METHODS[name].traits
}
"""Policy class by method of those whose pixels follow from the plan alone."""
DRAWN = [(name, settings) for name, every in VARIANTS.items() for settings in every]
CASES = [case for case in DRAWN if case[0] in IN_LOADERS]
TWO_SOURCES = [(name, settings) for name, settings in CASES if "n" not in settings]
SHARES_THE_PARTNER = [
    name for name in IN_LOADERS if not METHODS[name].traits & {"erases", "needs_peaks", "shrinks"}
]
"""Methods that give each pixel of a pair away once: what one image loses the other gets."""


def make(case, **common):
    """The policy of a case."""
    name, settings = case
    return getattr(msda, METHODS[name].policy)(**settings, **common)


def peaks_for(policy, batch, height, width):
    """Salient pixels for a policy that needs them: any will do for what follows from a plan.

    Those of a sample do not depend on how many follow.
    """
    if not policy.needs_peaks:
        return None
    rng = np.random.default_rng([height, width])
    return (rng.random((batch, 2)) * (height, width)).astype(np.int32)


def draw_any(policy, batch, height, width, **options):
    """As ``msda.draw``, with peaks where the policy needs them."""
    peaks = peaks_for(policy, batch, height, width)
    return msda.draw(policy, batch, height, width, peaks=peaks, **options)


def name_of(case):
    name, settings = case
    return "-".join([name, *(f"{key}={value}" for key, value in settings.items())])
