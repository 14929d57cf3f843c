"""What to draw for a batch: the methods, how they are composed, and a card for each method."""

from dali_msda.policy.base import (
    BOXES,
    LEAF_DTYPE,
    MODES,
    PARTNERS,
    ROUNDINGS,
    SCOPES,
    SHARES,
    TRAIT_BITS,
    Leaf,
    Policy,
    having,
)
from dali_msda.policy.cards import METHODS, TRAITS, Method, codes
from dali_msda.policy.checks import known, number, whole
from dali_msda.policy.compositions import Alternate, Choice, MultiMix
from dali_msda.policy.methods import (
    POLICIES,
    CutMix,
    Cutout,
    FMix,
    GMix,
    HMix,
    LaMix,
    Mixup,
    ResizeMix,
    SaliencyMix,
)

__all__ = [
    "BOXES",
    "LEAF_DTYPE",
    "METHODS",
    "MODES",
    "PARTNERS",
    "POLICIES",
    "ROUNDINGS",
    "SCOPES",
    "SHARES",
    "TRAITS",
    "TRAIT_BITS",
    "Alternate",
    "Choice",
    "CutMix",
    "Cutout",
    "FMix",
    "GMix",
    "HMix",
    "LaMix",
    "Leaf",
    "Method",
    "Mixup",
    "MultiMix",
    "Policy",
    "ResizeMix",
    "SaliencyMix",
    "codes",
    "having",
    "known",
    "number",
    "whole",
]
