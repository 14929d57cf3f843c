"""Contact sheets: what a policy does to the images of a folder.

    python -m dali_msda preview DIR --policy cutmix --lam 0.6 -o preview.png
    python -m dali_msda preview DIR --policy fmix --multimix 5 -o preview.png
    python -m dali_msda preview cat.jpg dog.jpg --all -o preview.png

Each row shows a sample, its partner, the own weight of each pixel as grey (white is 1), the mixed
image, and the label that the mixed image gets. With several interpolations these stand in columns,
the weights above the images. ``--all`` shows one pair, mixed by every method. There is no model
here: Puzzle Mix takes the saliency of the images themselves, that of SaliencyMix.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dali_msda.commands.pictures import decode, load
from dali_msda.commands.sheets import SOURCES, Cell, output, save, sheet
from dali_msda.ops import blend, mask, targets
from dali_msda.plan import draw
from dali_msda.policy import BOXES, POLICIES, Cutout, LaMix, Mixup, MultiMix, Policy, PuzzleMix
from dali_msda.puzzle import Solution, solve
from dali_msda.saliency import saliency

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS = {**POLICIES, "lamix": LaMix}
PAIRS_OF_LAMIX = 1  # a step at which LaMix mixes pairs; batches of even steps are originals
ACROSS, LAM = 5, 0.6  # of the sheet of all methods: pictures in a row, own share
INTERPOLATED = ("cutmix", "fmix")  # the methods that the sheet also shows with MultiMix


@dataclass(frozen=True)
class Mixed:
    """What a plan makes of a batch.

    Attributes:
        plan: Records of :data:`PLAN_DTYPE`, ``(B, k)``; the other shapes begin alike.
        weights: Own weight of every pixel, ``(B, k, H, W)``.
        images: ``(B, k, H, W, 3)``.
        labels: Weight of every class, ``(B, k, classes)``.
        classes: Names of the classes.
        names: Name of the class of each image that was mixed, ``(B,)``.
    """

    plan: np.ndarray
    weights: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    classes: list[str]
    names: Sequence[str]

    def source_cells(
        self, images: np.ndarray, slot: int, head: str = "", partner_head: str = ""
    ) -> tuple[Cell, Cell | None]:
        """The images as they came, over bars in their colours; None for no partner."""
        record = self.plan[slot, 0]
        own, partner = slot, record["partner"]
        cell = Cell(images[own], self.names[own], ((1.0, SOURCES[0]),), head)
        if record["sources"] == 1:
            return cell, None
        return cell, Cell(images[partner], self.names[partner], ((1.0, SOURCES[1]),), partner_head)

    def weight_cell(self, slot: int, k: int, head: str = "") -> Cell:
        """Own weights of an output as grey, with their mean."""
        weights = self.weights[slot, k]
        grey = np.rint(weights * 255).astype(np.uint8)
        return Cell(grey, f"mean {weights.mean():.3f}", head=head)

    def mixed_cell(self, slot: int, k: int, head: str = "") -> Cell:
        """An output with its label: the weights of the classes, one if they are the same."""
        record, row = self.plan[slot, k], self.labels[slot, k]
        sources = (slot, record["partner"])[: record["sources"]]
        shown = {name: row[self.classes.index(name)] for name in (self.names[i] for i in sources)}
        text = "   ".join(f"{weight:.2f} {name}" for name, weight in shown.items())
        shares = tuple(zip(map(float, shown.values()), SOURCES, strict=False))
        return Cell(self.images[slot, k], text, shares, head)


def mix_all(images: np.ndarray, names: Sequence[str], plan: np.ndarray | Solution) -> Mixed:
    """Apply a plan to images and their classes.

    Args:
        images: uint8 ``(B, H, W, 3)``.
        names: Class name of each image.
        plan: Records of :data:`PLAN_DTYPE`, ``(B,)`` or ``(B, k)``, or a solution for them.
    """
    classes = sorted(set(names))
    labels = np.array([classes.index(name) for name in names])
    rows = targets(labels, plan, num_classes=len(classes))
    weights = mask(plan, *images.shape[1:3])
    made = _records(plan), weights, blend(images, plan), rows
    if made[0].ndim == 1:
        made = [part[:, None] for part in made]
    return Mixed(*made, classes, names)


def _records(plan: np.ndarray | Solution) -> np.ndarray:
    return plan.plan if isinstance(plan, Solution) else plan


def draw_sheet(
    images: np.ndarray, names: Sequence[str], plan: np.ndarray | Solution, title: str
) -> Image:
    """Draw the sheet of one plan: own, partner, own weight, mixed image and label.

    Several interpolations stand in columns, the weights above the images, and the partner below the
    own image.

    Args:
        images: uint8 ``(B, H, W, 3)``.
        names: Class name of each image.
        plan: Records of :data:`PLAN_DTYPE`, ``(B,)`` or ``(B, k)``, or a solution for them.
        title: First line of the sheet.
    """
    mixed, rows = mix_all(images, names, plan), []
    for slot, records in enumerate(mixed.plan):
        if _records(plan).ndim == 1:
            heads = ("own", "partner", "own weight", "mixed") if slot == 0 else ("",) * 4
            own, partner = mixed.source_cells(images, slot, *heads[:2])
            shown = mixed.weight_cell(slot, 0, heads[2]), mixed.mixed_cell(slot, 0, heads[3])
            rows.append((own, partner, *shown))
            continue
        own, partner = mixed.source_cells(images, slot, "own, partner")
        several = range(len(records))
        lams = [f"lam {lam:.2f}" for lam in records["lam"]]
        rows.append((own, *(mixed.weight_cell(slot, k, lams[k]) for k in several)))
        rows.append((partner, *(mixed.mixed_cell(slot, k) for k in several)))
    return sheet(rows, title=title)


def draw_all(images: np.ndarray, names: Sequence[str], *, lam: float, seed: int) -> Image:
    """Draw the sheet of all methods: one pair, and for each method own weights and mixed image.

    Args:
        images: The pair, uint8 ``(2, H, W, 3)``.
        names: Class name of each.
        lam: Own share.
        seed: Of the plans.
    """
    columns: list[tuple[Cell, Cell] | None] = []
    for kind in KINDS.values():
        policy = shown_policy(kind, *images.shape[1:3])
        mixed = mix_all(images, names, drawn(policy, images, lam, seed))
        if not columns:
            columns.append(mixed.source_cells(images, 0, "own, partner"))
        columns.append((mixed.weight_cell(0, 0, kind.__name__), mixed.mixed_cell(0, 0)))
    columns += [None] * (-len(columns) % ACROSS)
    for method in INTERPOLATED:
        policy = MultiMix(KINDS[method](partner="derangement"), ACROSS)
        mixed = mix_all(images, names, drawn(policy, images, average_lams(ACROSS), seed))
        head = f"MultiMix({type(policy.policy).__name__}(), k={ACROSS}): lam from 5/6 down to 1/6"
        columns += [
            (mixed.weight_cell(0, k, "" if k else head), mixed.mixed_cell(0, k))
            for k in range(ACROSS)
        ]
    rows = []
    for first in range(0, len(columns), ACROSS):
        band = columns[first : first + ACROSS]
        rows += [[column and column[row] for column in band] for row in (0, 1)]
    return sheet(rows, title=f"One pair, every method: own weights and mixed image, lam {lam:g}")


def shown_policy(kind: type[Policy], height: int, width: int) -> Policy:
    """A method with its defaults, except that partners differ and a Cutout is large."""
    more = {"length": min(height, width) // 2} if kind is Cutout else fitting(kind, height, width)
    return kind(partner="derangement", **more)


def fitting(kind: type[Policy], height: int, width: int) -> dict[str, object]:
    """Settings that a method needs for images of this size: blocks of Puzzle Mix, 10 x 10 at most.

    Raises:
        ValueError: If nothing fits.
    """
    if kind is not PuzzleMix:
        return {}
    counts = [count for count in range(2, 11) if height % count == width % count == 0]
    if not counts:
        raise ValueError(
            "size: expected height and width that a number from 2 to 10 divides, for the blocks of "
            f"puzzlemix, got {height}x{width}"
        )
    return {"blocks": counts[-1:], "cell": 1}


def average_lams(k: int) -> list[float]:
    """The mean of each of ``k`` uniform lambdas in falling order."""
    return [(k - i) / (k + 1) for i in range(k)]


def drawn(policy: Policy, images: np.ndarray, lam: object, seed: int) -> np.ndarray | Solution:
    """The plan of a batch of images, solved where the method asks for that."""
    step = PAIRS_OF_LAMIX if isinstance(policy, LaMix) else 0
    peaks = saliency(images) if policy.needs_peaks else None
    plan = draw(policy, *images.shape[:3], seed=seed, step=step, lam=lam, peaks=peaks)
    if not policy.needs_gradients:
        return plan
    settings = policy.policy if isinstance(policy, MultiMix) else policy
    _, maps = saliency(images, maps=True)
    return solve(images, maps.astype(np.float32), plan, settings=settings)


# -------------------------------------------------------------------------------------- command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``python -m dali_msda preview``."""
    add = parser.add_argument
    source = "folder of images, or of folders of them (the classes); or image files"
    add("images", metavar="DIR", nargs="+", help=source)
    add("--policy", choices=tuple(KINDS), help="method (cutmix)")
    add("--all", action="store_true", help="one pair, mixed by every method")
    add("--multimix", type=int, metavar="K", help="K interpolations of each pair, 2 to 64")
    add("--alpha", type=float, help="of Beta(alpha, alpha), 0.01 to 100 (1)")
    add("--lam", type=float, help="fixed own share in [0, 1], instead of a drawn one")
    add("--box", choices=[box for box in BOXES if box != "minmax"], help="where boxes lie (clip)")
    add("--size", type=_size, default=(224, 224), metavar="HxW", help="of the images (224x224)")
    add("--rows", type=int, help="samples to show, at least 2 (6, or all the files named)")
    add("--seed", type=int, default=0, help="of the choice of images and of the plan (0)")
    add("-o", "--output", default="preview.png", metavar="FILE", help="(preview.png)")


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"expected HxW in pixels, such as 224x224, got {text!r}")
    return int(height), int(width)


def main(args: argparse.Namespace) -> None:
    """Draw the sheet that the arguments ask for, and print where it is."""
    if importlib.util.find_spec("PIL") is None:
        raise RuntimeError("pillow: expected it to be installed; run: pip install pillow")
    if args.rows is not None and args.rows < 2:
        raise ValueError(f"rows: expected at least 2, got {args.rows}; a sample needs a partner")
    if not 0 <= args.seed < 2**64:
        raise ValueError(f"seed: expected 0 <= seed < 2**64, got {args.seed}")
    policy = None if args.all else _policy(args)
    if args.all:
        _nothing_else(args)
    draw(Mixup(), 1, *args.size, seed=args.seed, step=0, lam=args.lam)  # checks lam and size
    path = output(args.output)
    images, names = _images(args)
    if args.all:
        lam = LAM if args.lam is None else args.lam
        picture, what = draw_all(images, names, lam=lam, seed=args.seed), f"{len(KINDS)} methods"
    else:
        plan = drawn(policy, images, args.lam, args.seed)
        picture = draw_sheet(images, names, plan, _title(args, policy))
        what = f"{len(images)} samples"
    save(picture, path)
    print(f"{path}: {what} of {' '.join(args.images)}")


def _images(args: argparse.Namespace) -> tuple[np.ndarray, list[str]]:
    """Images, ``(B, H, W, 3)``, and the names of their classes."""
    if len(args.images) == 1:
        count = 2 if args.all else args.rows or 6
        found = load(args.images[0], count, args.size, args.seed)
    else:
        if args.all and len(args.images) > 2:
            raise ValueError(f"images: expected two files with --all, got {len(args.images)}")
        found = [(_file(path, args.size), Path(path).stem) for path in args.images[: args.rows]]
    if len(found) < 2:
        raise ValueError(
            f"folder: expected at least 2 images that can be decoded, got {len(found)} in "
            f"{args.images[0]!r}"
        )
    return np.stack([image for image, _ in found]), [name for _, name in found]


def _file(path: str, size: tuple[int, int]) -> np.ndarray:
    try:
        return decode(Path(path), size)
    except Exception as error:  # PIL raises nearly anything for a broken file
        raise ValueError(
            f"images: expected one folder or image files, got {path!r} ({error})"
        ) from error


def _policy(args: argparse.Namespace) -> Policy:
    """The policy, with a rule that never mixes a sample with itself."""
    name = args.policy or "cutmix"
    kind = KINDS[name]
    options = {"partner": "derangement", **fitting(kind, *args.size)}
    for option in ("alpha", "box"):
        value = getattr(args, option)
        if value is None:
            continue
        if option not in {field.name for field in fields(kind)}:
            raise ValueError(f"{option}: expected none with policy {name!r}, got {value!r}")
        options[option] = value
    policy = kind(**options)
    if args.multimix is None:
        return policy
    if kind is LaMix:
        raise ValueError(f"multimix: expected none with policy 'lamix', got {args.multimix}")
    if not 2 <= args.multimix <= 64:
        raise ValueError(f"multimix: expected 2 to 64 interpolations, got {args.multimix}")
    return MultiMix(policy, args.multimix)


def _nothing_else(args: argparse.Namespace) -> None:
    """Refuse what has no place on the sheet of all methods."""
    for option in ("policy", "multimix", "alpha", "box", "rows"):
        value = getattr(args, option)
        if value is not None:
            raise ValueError(
                f"{option}: expected none with --all, which shows every method, got {value!r}"
            )


def _title(args: argparse.Namespace, policy: Policy) -> str:
    base = policy.policy if isinstance(policy, MultiMix) else policy
    name = args.policy or "cutmix"
    several = f", {policy.k} interpolations" if isinstance(policy, MultiMix) else ""
    if isinstance(base, Cutout):
        parts = [f"length {base.length}"]
    else:
        parts = ["lam drawn" if args.lam is None else f"lam {args.lam:g}"]
        parts += [f"alpha {base.alpha:g}"] if hasattr(base, "alpha") else []
        parts += [f"box {base.box}"] if hasattr(base, "box") else []
    return f"{name}{several}: {', '.join(parts)}, seed {args.seed}"
