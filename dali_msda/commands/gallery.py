"""The pictures of the manual: what each method makes of one pair, and what policies draw.

``make manual`` writes them into dali_msda/gallery/. The photographs come with scikit-image and may
be shipped: SpaceX's rocket and NASA's astronaut and galaxies are in the public domain, Rachel
Michetti's cup and Stefan van der Walt's cat are CC0. The gallery is no part of the installed
package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dali_msda import comixup
from dali_msda.comixup import CoMixupSettings
from dali_msda.commands.pictures import decode
from dali_msda.commands.preview import Mixed, average_lams, drawn, mix_all, shown_policy
from dali_msda.commands.sheets import SOURCES, Cell, sheet
from dali_msda.ops import targets
from dali_msda.plan import draw
from dali_msda.policy import (
    POLICIES,
    Choice,
    CutMix,
    Cutout,
    FMix,
    GMix,
    Mixup,
    MultiMix,
    Policy,
    ResizeMix,
    SmoothMix,
)
from dali_msda.saliency import saliency

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

# What the photographs show, and their files in scikit-image. Methods mix the first two.
PHOTOGRAPHS = {
    "rocket": "rocket.jpg",
    "cup": "coffee.png",
    "cat": "chelsea.png",
    "astronaut": "astronaut.png",
    "galaxies": "hubble_deep_field.jpg",
}
PAIR = list(PHOTOGRAPHS)[:2]
SIZE, SEED = (100, 150), 86  # height and width in pixels, seed of every plan
LAMS = (0.2, 0.4, 0.6, 0.8)  # own shares, across the sheet of a method
LENGTHS = (20, 40, 60, 80)  # sides of Cutout's square in pixels, in their place
LAM = LAMS[2]  # of the first page's sheet of all methods
ACROSS = 5  # pictures in a row of the first page's sheet, which has two: the pair, eight methods
SEVERAL = MultiMix(FMix(partner="derangement"), 5)
BLOCKS, COLOURS = 5, (*SOURCES, "#b0486a")  # of Co-Mixup: along a side; of the inputs
QUALITY = 70  # of the JPEGs, which keeps each below 60 kB

DRAWN = {
    "Mixup()": Mixup(),
    "Mixup(alpha=0.2)": Mixup(alpha=0.2),
    "Mixup(n=3)": Mixup(n=3),
    "Mixup(prob=0.5)": Mixup(prob=0.5),
    "CutMix()": CutMix(),
    'CutMix(box="inside")': CutMix(box="inside"),
    "CutMix(minmax=(0.2, 0.8))": CutMix(minmax=(0.2, 0.8)),
    "FMix(reformulate=True)": FMix(reformulate=True),
    "GMix()": GMix(),
    "ResizeMix()": ResizeMix(),
    "SmoothMix()": SmoothMix(),
    "Choice([CutMix(), Mixup()])": Choice([CutMix(), Mixup()]),
}
"""The policies whose draws are counted, as one writes them."""
SAMPLES, SIDE, BINS, TOP = 20_000, 224, 20, 20  # images and their sides; bars; percent at the top


def pictures() -> Iterator[tuple[str, Image]]:
    """File name and picture of everything in the gallery."""
    images = photographs(PAIR)
    for name, kind in POLICIES.items():
        yield f"{name}.jpg", method_sheet(images, kind)
    yield "methods.jpg", all_methods(images)
    yield "multimix.jpg", multimix_sheet(images)
    yield "comixup.jpg", comixup_sheet()
    yield "policies.png", histograms()


def photographs(names: list[str]) -> np.ndarray:
    """The photographs of these names, uint8 ``(B, H, W, 3)``.

    Raises:
        RuntimeError: If scikit-image is not installed.
    """
    found = find_spec("skimage")
    if found is None:
        raise RuntimeError("scikit-image: expected it to be installed; run: pip install '.[demo]'")
    folder = Path(found.origin).parent / "data"
    square = (SIZE[1], SIZE[1])  # the astronaut's face is in the upper part of one
    sizes = {name: square if name == "astronaut" else SIZE for name in names}
    decoded = [decode(folder / PHOTOGRAPHS[name], size) for name, size in sizes.items()]
    return np.stack([image[: SIZE[0]] for image in decoded])


def method_sheet(images: np.ndarray, kind: type[Policy]) -> Image:
    """Own weights and mixed images of a pair, from little to much of the own image."""
    columns = []
    for lam, length in zip(LAMS, LENGTHS, strict=True):
        policy, head = shown_policy(kind, *SIZE), f"lam {lam:g}"
        if kind is Cutout:
            policy, head = Cutout(length=length), f"length {length}"
        mixed = mix_all(images, PAIR, drawn(policy, images, lam, SEED))
        columns.append((mixed, 0, head))
    return _banded(images, columns)


def multimix_sheet(images: np.ndarray) -> Image:
    """Own weights and mixed images of all interpolations of a pair, at the average lambdas."""
    lams = average_lams(SEVERAL.k)
    mixed = mix_all(images, PAIR, drawn(SEVERAL, images, lams, SEED))
    return _banded(images, [(mixed, k, f"lam {lam:.2f}") for k, lam in enumerate(lams)])


def _banded(images: np.ndarray, columns: list[tuple[Mixed, int, str]]) -> Image:
    """The pair to the left; then weights above mixed images, each of a plan and its k-th record."""
    own, partner = columns[0][0].source_cells(images, 0, "own", "partner")
    above = [
        replace(
            mixed.weight_cell(0, k, f"own weight, {head}"),
            text=f"mean {mixed.weights[0, k].mean():.2f}",
        )
        for mixed, k, head in columns
    ]
    heads = ["mixed image and label", *[""] * (len(columns) - 1)]
    below = [
        mixed.mixed_cell(0, k, head) for (mixed, k, _), head in zip(columns, heads, strict=True)
    ]
    return sheet([[own, *above], [partner, *below]])


def all_methods(images: np.ndarray) -> Image:
    """The first page's sheet: the pair, and what as many methods as fit make of it."""
    shown: list[Cell | None] = []
    for kind in list(POLICIES.values())[: 2 * ACROSS - 2]:
        plan = drawn(shown_policy(kind, *SIZE), images, LAM, SEED)
        mixed = mix_all(images, PAIR, plan)
        shown += mixed.source_cells(images, 0, "own", "partner") if not shown else ()
        shown.append(mixed.mixed_cell(0, 0, kind.__name__))
    return sheet([shown[:ACROSS], shown[ACROSS:]])


def comixup_sheet() -> Image:
    """A batch of Co-Mixup: inputs above outputs, and how much the outputs show of each input."""
    images, names = photographs(list(PHOTOGRAPHS)), list(PHOTOGRAPHS)
    maps = saliency(images, maps=True)[1].astype(np.float32)
    settings = CoMixupSettings(part=len(images))
    solution = comixup.solve(maps, blocks=BLOCKS, settings=settings, seed=SEED)
    mixed = comixup.blend(images, solution)
    heads = ["inputs", *[""] * (len(names) - 1)]
    inputs = [
        Cell(image, name, ((1.0, colour),), head)
        for image, name, colour, head in zip(images, names, COLOURS, heads, strict=True)
    ]
    outputs = []
    for image, weights in zip(mixed, solution.weights(), strict=True):
        shares = [(float(w), colour) for w, colour in zip(weights, COLOURS, strict=True) if w]
        text = "   ".join(f"{weight:.2f}" for weight, _ in shares)
        outputs.append(Cell(image, text, tuple(shares), "" if outputs else "outputs"))
    return sheet([inputs, outputs])


def histograms() -> Image:
    """Lambdas and own label weights of each policy in :data:`DRAWN`, as shares of the samples.

    Raises:
        RuntimeError: If matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise RuntimeError("matplotlib: expected it to be installed; run: pip install matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(8.6, 7.4), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(DRAWN) // 3, 3, sharex=True, sharey=True)
    for panel, (name, policy) in zip(axes.flat, DRAWN.items(), strict=True):
        plan = draw(policy, SAMPLES, SIDE, SIDE, seed=SEED, step=0)
        _, weights = targets(np.arange(SAMPLES), plan, compact=True)
        _panel(panel, name, plan["lam"], weights[:, 0])
    figure.supxlabel("share of the own image (1: only the own image, 0: only the partner)", size=10)
    figure.supylabel("samples in a bar, percent", size=10)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=10)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).quantize(64)


def _panel(axes: Axes, title: str, lams: np.ndarray, weights: np.ndarray) -> None:
    """Two histograms over each other; bars that reach above the panel say how far."""
    edges = np.linspace(0, 1, BINS + 1)
    lam, weight = (np.histogram(one, edges)[0] * 100 / SAMPLES for one in (lams, weights))
    axes.set_title(title, fontsize=9, family="monospace")
    axes.bar(edges[:-1], weight, 1 / BINS, align="edge", color=SOURCES[1], label="label weight")
    axes.stairs(lam, edges, color=SOURCES[0], linewidth=1.6, label="lambda, as drawn")
    for place in np.flatnonzero(np.maximum(lam, weight) > TOP):
        right = place < BINS // 2
        where = edges[place + right] + (0.02 if right else -0.02)
        text = f"{max(lam[place], weight[place]):.0f} %"
        axes.text(where, TOP, text, fontsize=8, va="top", ha="left" if right else "right")
    axes.set(xlim=(0, 1), ylim=(0, TOP), xticks=(0, 0.5, 1), yticks=(0, 5, 10, 15, 20))
    axes.set_xticklabels(("0", "0.5", "1"))
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
