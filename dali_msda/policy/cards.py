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
        authors_code: The authors' released code; empty where we know of none.
        own_weight: Own weight of a pixel.
        label_weight: Own label weight.
        deviations: Where the default differs from the authors' code.
        definition: Pixels and what is drawn for them, as formulas in plain text: ``w`` is the own
            weight of a pixel, ``lam`` the nominal one, and images are ``H`` by ``W`` pixels.
        when: When to use it.
        traits: What the rest of the package has to know of it, words of :data:`TRAITS`.
        variants: Settings that show all that it can do, for tests: each setting in one of them.
        weights: How it weighs its pixels, as ``msda::WeightKind``: ``"one"`` weight, a ``"box"``, a
            Gaussian ``"bump"``, or a ``"mask"`` of bits or floats; or by ``"cells"``, which are
            no part of its record.
    """

    code: int
    policy: str
    summary: str
    paper: str
    authors_code: str
    own_weight: str
    label_weight: str
    deviations: str
    definition: str
    when: str
    traits: frozenset[str] = frozenset()
    variants: tuple[dict[str, object], ...] = ({},)
    weights: str = "box"


TRAITS = {
    "any_shape": "serves sequences and volumes as well as images",
    "cuts": "own weights are 0 or 1, unless they are softened",
    "erases": "sets pixels to 0 in the output; nobody is mixed",
    "needs_field": "has a mask made from a random field",
    "needs_gradients": "mixes in the training step only, by the gradients of the model",
    "needs_peaks": "is drawn with the most salient pixels of the images",
    "shrinks": "shows pixels of the partner at other places than they had",
}
"""Word and meaning of each trait."""

METHODS = {
    "mixup": Method(
        code=1,
        policy="Mixup",
        weights="one",
        summary="weighted mean of two images (or of up to four)",
        paper="Zhang et al., ICLR 2018, arXiv:1710.09412",
        authors_code="facebookresearch/mixup-cifar10",
        own_weight="lam",
        label_weight="lam",
        deviations="one lambda per sample instead of per batch (scope='batch' restores it)",
        definition="lam ~ Beta(alpha, alpha); out = lam * own + (1 - lam) * partner in every "
        "pixel. With n = 3 or 4 sources, the weights are Dirichlet(alpha, ..., alpha)",
        when="a first choice for any data, also sequences and volumes. alpha = 0.2 is mild and "
        "usual for short ImageNet training; 0.8 to 1 is usual for 300 epochs",
        traits=frozenset({"any_shape"}),
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
        definition="lam ~ Beta(alpha, alpha); the box has sides 2 * floor(floor(n * sqrt(1 - lam)) "
        "/ 2) for n = H and W, is centred on a uniformly drawn pixel and is clipped to the image; "
        "w = 0 in it and 1 around it",
        when="where a part of an object is enough to name it, and where the model is to look at "
        "all parts, as for localisation. Long training is usual (300 epochs). A box may miss a "
        "small object, which its label then names all the same",
        traits=frozenset({"cuts"}),
    ),
    "fmix": Method(
        code=3,
        policy="FMix",
        weights="mask",
        summary="regions cut from a random field with a power-law spectrum",
        paper="Harris et al., arXiv:2002.12047",
        authors_code="ecs-vlc/FMix",
        own_weight="0 or 1, by a threshold on the field",
        label_weight="share of pixels that stay own",
        deviations="one mask per sample instead of per batch (scope='batch' restores it); the "
        "paper's law, where the code draws two columns of the spectrum (law='legacy'); pixels are "
        "counted to the nearest, not by a coin (rounding='coin')",
        definition="lam ~ Beta(alpha, alpha); a field G = Re(inverse DFT(Z / f^decay)) with Z "
        "complex normal noise and f the frequency; w = 1 in the round(lam * H * W) pixels where G "
        "is greatest, 0 in the others",
        when="as CutMix, where straight edges would be learnt or where the data are sequences or "
        "volumes. It takes more time to make than the other masks do",
        traits=frozenset({"any_shape", "cuts", "needs_field"}),
    ),
    "hmix": Method(
        code=4,
        policy="HMix",
        summary="a box of the partner, and Mixup around it",
        paper="Park et al., NeurIPS 2022, arXiv:2208.09913",
        authors_code="naver-ai/hmix-gmix",
        own_weight="0 in the box, lam / (1 - area) around it",
        label_weight="lam",
        deviations="one box per sample instead of per batch (scope='batch' restores it)",
        definition="lam ~ Beta(alpha, alpha); a box as in CutMix with sides n * sqrt((1 - lam) * "
        "r), with w = 0 in it and w = lam / (1 - area) around it, where area is its share of the "
        "image",
        when="a compromise of Mixup (r = 0) and CutMix (r = 1), where neither of them is clearly "
        "better. The authors use r = 0.5 for CIFAR-100 and r = 0.75 for ImageNet",
    ),
    "gmix": Method(
        code=5,
        policy="GMix",
        weights="bump",
        summary="a Gaussian bump of one image in the other",
        paper="Park et al., NeurIPS 2022, arXiv:2208.09913",
        authors_code="naver-ai/hmix-gmix",
        own_weight="1 - exp(-pi d^2 / area), or its complement",
        label_weight="mean of the mask",
        deviations="one bump per sample instead of per batch (scope='batch' restores it); "
        "rectangular images",
        definition="lam ~ Beta(alpha, alpha); b = exp(-pi * d^2 / (area * H * W)), where d is the "
        "distance to a uniformly drawn pixel and area = min(lam, 1 - lam); w = b if lam < 1/2, "
        "else 1 - b",
        when="as HMix, with a soft edge. The authors use alpha = 0.5 for CIFAR-100 and 1 for "
        "ImageNet",
    ),
    "resizemix": Method(
        code=6,
        policy="ResizeMix",
        summary="the whole partner, shrunk into a box",
        paper="Qin et al., arXiv:2012.11101",
        authors_code="JayQine/ResizeMix",
        own_weight="0 in the box, 1 around it",
        label_weight="share of pixels outside the box",
        deviations="tau is drawn per sample instead of per batch",
        definition="tau ~ U(0.1, 0.8); the partner, shrunk to floor(tau * H) by floor(tau * W) by "
        "its nearest pixels, replaces a box of that size around a uniformly drawn pixel, shifted "
        "into the image; w = 0 in the box and 1 around it",
        when="as CutMix, where the pasted part must show the whole object: small objects, or "
        "labels that a part does not tell",
        traits=frozenset({"cuts", "shrinks"}),
    ),
    "saliencymix": Method(
        code=7,
        policy="SaliencyMix",
        summary="a box around the partner's most salient pixel, pasted",
        paper="Uddin et al., ICLR 2021, arXiv:2006.01791",
        authors_code="afm-shahab-uddin/SaliencyMix",
        own_weight="0 in the box, 1 around it",
        label_weight="share of pixels outside the clipped box",
        deviations="one box per sample instead of per batch (scope='batch' restores it); saliency "
        "of the uint8 RGB image, where the code hands normalised floats to an OpenCV function that "
        "reads them as bytes, so that its boxes lie anywhere",
        definition="CutMix with the box centred on the pixel of the partner where a saliency "
        "filter is greatest (fine-grained static saliency, as in OpenCV)",
        when="as CutMix, where objects stand out from their background and a random box would "
        "often show the background only",
        traits=frozenset({"cuts", "needs_peaks"}),
    ),
    "cutout": Method(
        code=8,
        policy="Cutout",
        summary="a square set to 0 in the output; the label is kept",
        paper="DeVries and Taylor, arXiv:1708.04552",
        authors_code="uoguelph-mlrg/Cutout",
        own_weight="0 in the square, 1 around it; nothing takes its place",
        label_weight="1",
        deviations="none",
        definition="a square of side 2 * floor(length / 2), centred on a uniformly drawn pixel and "
        "clipped to the image, is set to 0",
        when="where labels must not be mixed, or as a baseline. The authors use length = 16 for "
        "CIFAR-10 and 8 for CIFAR-100, images of 32 pixels",
        traits=frozenset({"erases"}),
    ),
    "smoothmix": Method(
        code=9,
        policy="SmoothMix",
        weights="bump",
        summary="a Gaussian bump of the partner, of random width",
        paper="Lee et al., CVPR Workshops 2020",
        authors_code="",
        own_weight="1 - exp(-d^2 / (2 sigma^2))",
        label_weight="mean of the mask",
        deviations="a width and a place per sample instead of per batch (scope='batch' restores "
        "it); rectangular images",
        definition="sigma ~ U(low, high) * sqrt(H * W); w = 1 - exp(-d^2 / (2 * sigma^2)), where d "
        "is the distance to a uniformly drawn pixel",
        when="as CutMix, where hard edges do harm: the paper aims at robustness against "
        "corrupted images",
        variants=({}, {"sigma": (0.1, 0.6)}),
    ),
    "puzzlemix": Method(
        code=10,
        policy="PuzzleMix",
        weights="cells",
        summary="salient blocks of both images, by the gradients of the model; in the training "
        "step only",
        paper="Kim et al., ICML 2020, arXiv:2009.06962",
        authors_code="snu-mllab/PuzzleMix",
        own_weight="that of its block: 0, 1/2 or 1",
        label_weight="mean of the mask",
        deviations="one lambda per sample instead of per batch (scope='batch' restores it); masks "
        "of least cost, where the code's solver often misses them; costs in fixed point; "
        "shown blocks of zero saliency stay, where the code may leave them black",
        definition="lam ~ Beta(alpha, alpha); b x b blocks, with b drawn from blocks for each "
        "batch; own weights z of the blocks that minimise the saliency they hide, sum z S' + "
        "(1 - z) S with shares S and S' of the own image and the partner, plus w (z_p - z_q)^2 "
        "for blocks side by side, where w grows with beta and with the contrast at their border, "
        "plus eta / b^2 times -log of the binomial law of z under lam; then hidden salient blocks "
        "move to where their image is shown, by deferred acceptance",
        when="where images must keep what is salient and labels must fit it, and where one more "
        "pass through the model per step is affordable. The authors use places=8 and "
        "scope='batch' for CIFAR-100",
        traits=frozenset({"needs_gradients"}),
        variants=(
            {},
            {"blocks": (4, 2, 4), "prior_lam": 0.25, "levels": 2, "transport": False},
            {"places": 8, "cell": 2, "beta": 0.8, "gamma": 0.3, "eta": 0.1, "move_cost": 0.2},
        ),
    ),
}
"""Method by name, as a policy and the DALI operators spell it."""


def codes(trait: str) -> list[int]:
    """Numbers of the methods that have a trait, as records and leaves hold them."""
    if trait not in TRAITS:
        raise ValueError(f"trait: expected one of {', '.join(TRAITS)}, got {trait!r}")
    return [method.code for method in METHODS.values() if trait in method.traits]


def codes_weighing_by(kind: str) -> list[int]:
    """Numbers of the methods that weigh their pixels by ``kind``: :attr:`Method.weights`."""
    return [method.code for method in METHODS.values() if method.weights == kind]
