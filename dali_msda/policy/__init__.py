"""What to draw for a batch: the methods, how they are composed, and a card for each method."""

from dali_msda.policy import methods
from dali_msda.policy.base import (
    LEAF_DTYPE,
    TRAIT_BITS,
    Leaf,
    Policy,
    expect_loader_policy,
    has_trait,
)
from dali_msda.policy.cards import METHODS, TRAITS, Method, codes, codes_weighing_by
from dali_msda.policy.checks import known, number, whole
from dali_msda.policy.compositions import Alternate, Choice, MultiMix
from dali_msda.policy.methods import *  # noqa: F403  all that its __all__ names
from dali_msda.policy.methods import POLICIES
from dali_msda.policy.puzzle import PuzzleSettings
from dali_msda.policy.words import (
    BOXES,
    MODES,
    PARTNERS,
    ROUNDINGS,
    SCOPES,
    SHARES,
    Partner,
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
    "Leaf",
    "Method",
    "MultiMix",
    "Partner",
    "Policy",
    "PuzzleSettings",
    "codes",
    "codes_weighing_by",
    "expect_loader_policy",
    "has_trait",
    "known",
    "number",
    "whole",
]
__all__ += methods.__all__
