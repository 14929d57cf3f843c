"""The table of methods: what each is, where it comes from, and where this project deviates.

Documentation and tests are driven by it; the README's table is compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        code: Number of the method in a plan record (``msda::Method``).
        policy: Name of the policy class that draws it.
        summary: What it does, in one line.
        paper: Where it was published.
        authors_code: The authors' released code.
        own_weight: Own weight of a pixel.
        label_weight: Own label weight.
        deviations: Where the default differs from the authors' code.
    """

    code: int
    policy: str
    summary: str
    paper: str
    authors_code: str
    own_weight: str
    label_weight: str
    deviations: str


METHODS = {
    "mixup": Method(
        code=1,
        policy="Mixup",
        summary="weighted mean of two images (or of up to four)",
        paper="Zhang et al., ICLR 2018, arXiv:1710.09412",
        authors_code="facebookresearch/mixup-cifar10",
        own_weight="lam",
        label_weight="lam",
        deviations="one lambda per sample instead of per batch (scope='batch' restores it)",
    ),
    "cutmix": Method(
        code=2,
        policy="CutMix",
        summary="a box of the partner pasted into the image",
        paper="Yun et al., ICCV 2019, arXiv:1905.04899",
        authors_code="clovaai/CutMix-PyTorch",
        own_weight="0 in the box, 1 around it",
        label_weight="share of pixels outside the clipped box",
        deviations="one box per sample instead of per batch (scope='batch' restores it)",
    ),
}
"""Method by name, as a policy and the DALI operators spell it."""
