"""Contact sheets: what a policy does to the images of a folder.

    python -m dali_msda preview DIR --policy cutmix --lam 0.6 -o preview.png

Each row shows a sample, its partner, the own weight of each pixel as grey (white is 1), the mixed
image, and the label that the mixed image gets.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dali_msda.leaves import POLICIES, Mixup
from dali_msda.ops import blend, mask, targets
from dali_msda.plan import draw
from dali_msda.policy import BOXES, Leaf
from dali_msda.salient import saliency

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

# Of a sheet, in pixels and RGB.
MARGIN, GAP, BAR, TITLE_SIZE, TEXT_SIZE = 28, 14, 6, 22, 15
PAPER, INK, FAINT, LINE = "white", "#1c1f24", "#6a717c", "#d5d9df"
SOURCES = ("#2a6fb0", "#e08a2b", "#4c9a5b", "#8d63a8")  # own, partner, third, fourth


@dataclass(frozen=True)
class Cell:
    """One picture of a sheet.

    Attributes:
        image: uint8 ``(H, W, 3)`` or ``(H, W)``.
        text: Caption.
        shares: Length (a share of the width) and colour of the pieces of a bar under the image.
    """

    image: np.ndarray
    text: str
    shares: tuple[tuple[float, str], ...] = ()


def sheet(rows: Sequence[Sequence[Cell]], *, title: str, heads: Sequence[str] = ()) -> Image:
    """Draw a table of pictures with captions.

    Args:
        rows: Cells; all images have one height and width.
        title: First line of the sheet.
        heads: Heads of the columns, or nothing.

    Returns:
        A PIL image, RGB.
    """
    from PIL import Image, ImageDraw, ImageFont

    large, font = ImageFont.load_default(TITLE_SIZE), ImageFont.load_default(TEXT_SIZE)
    height, width = rows[0][0].image.shape[:2]
    step_x, step_y = width + GAP, height + BAR + TEXT_SIZE + 3 * GAP
    top = MARGIN + TITLE_SIZE + 2 * GAP + (TEXT_SIZE + GAP if heads else 0)
    across = max(max(map(len, rows)) * step_x - GAP, round(large.getlength(title)))
    size = (2 * MARGIN + across, top + len(rows) * step_y - GAP + MARGIN // 2)
    paper = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(paper)
    pen.text((MARGIN, MARGIN), title, INK, large)
    for column, head in enumerate(heads):
        pen.text((MARGIN + column * step_x, top - TEXT_SIZE - GAP), head, FAINT, font)
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            x, y = MARGIN + column * step_x, top + row * step_y
            pen.rectangle((x - 1, y - 1, x + width, y + height), outline=LINE)
            paper.paste(Image.fromarray(cell.image).convert("RGB"), (x, y))
            _caption(pen, (x, y + height + GAP // 2), width, cell, font)
    return paper


def _caption(
    pen: ImageDraw, corner: tuple[int, int], width: int, cell: Cell, font: FreeTypeFont
) -> None:
    """Draw the bar and the text below an image."""
    x, y = corner
    end = 0.0
    for share, colour in cell.shares:
        start, end = end, end + share
        if round(end * width) > round(start * width):
            box = (x + round(start * width), y, x + round(end * width) - 1, y + BAR - 1)
            pen.rectangle(box, colour)
    text = cell.text
    while font.getlength(text) > width and len(text) > 2:
        text = text[:-2].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
    pen.text((x, y + BAR + GAP // 3), text, INK, font)


def save(picture: Image, path: str | os.PathLike) -> None:
    """Save a sheet: the whole file or none.

    Raises:
        ValueError: If the file name's suffix is none of an image.
        OSError: If the file cannot be written.
    """
    path = _output(path)
    try:
        handle, scratch = tempfile.mkstemp(".part" + path.suffix, f".{path.stem}.", path.parent)
        try:
            os.close(handle)
            picture.save(scratch)
            os.chmod(scratch, 0o644)  # mkstemp makes it private
            os.replace(scratch, path)
        except BaseException:
            os.unlink(scratch)
            raise
    except OSError as error:
        why = error.strerror or error
        raise OSError(f"output: expected a file to write, got {str(path)!r} ({why})") from error


def _output(path: str | os.PathLike) -> Path:
    """Check an output path before the work rather than after it."""
    from PIL import Image

    path = Path(path)
    known = Image.registered_extensions()  # loads the formats
    if known.get(path.suffix.lower()) not in Image.SAVE:
        raise ValueError(
            f"output: expected a file name that ends in .png, .jpg or .webp, got {str(path)!r}"
        )
    if not path.parent.is_dir():
        raise ValueError(
            f"output: expected a file in an existing folder, got {str(path)!r}; "
            f"make it with: mkdir -p {path.parent}"
        )
    return path


def load(root: str | os.PathLike, count: int, size: tuple[int, int], seed: int) -> list[tuple]:
    """Load images from a folder and its folders, chosen at random, in turn from each folder.

    Files that PIL cannot decode are passed over, with a line on stderr.

    Args:
        root: The folder.
        count: Most images to load.
        size: Height and width; images are scaled and cropped to fill it.
        seed: Seed of the choice.

    Returns:
        (image, name) of each: uint8 ``(H, W, 3)``, and the folder that it lies in, or the file's
        own name if that is the root.
    """
    root, found = Path(root), []
    if not root.is_dir():
        got = "a file" if root.exists() else "nothing of that name"
        raise ValueError(f"folder: expected a folder of images, got {str(root)!r} ({got})")
    for path in _image_files(root, np.random.default_rng(seed)):
        if len(found) == count:
            break
        try:
            image = _decode(path, size)
        except Exception as error:  # PIL raises nearly anything for a broken file
            print(f"passed over {path}: {error}", file=sys.stderr)
            continue
        found.append((image, path.parent.name if path.parent != root else path.stem))
    return found


def _image_files(folder: Path, rng: np.random.Generator) -> Iterator[Path]:
    """Files with the name of an image: own ones at random, then one of each folder in turn.

    Folders are read when it is their turn: a few files of ImageNet take a few folders' time.
    """
    from PIL import Image

    formats = Image.registered_extensions()
    entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    entries = [entries[i] for i in rng.permutation(len(entries))]
    for entry in entries:
        if formats.get(Path(entry.name).suffix.lower()) in Image.OPEN and entry.is_file():
            yield Path(entry.path)
    turns = deque(_image_files(Path(entry.path), rng) for entry in entries if entry.is_dir())
    while turns:
        files = turns.popleft()
        for path in files:
            yield path
            turns.append(files)
            break


def _decode(path: Path, size: tuple[int, int]) -> np.ndarray:
    """One image as uint8 RGB, upright, scaled and cropped to ``size``."""
    from PIL import Image, ImageOps

    with warnings.catch_warnings(), Image.open(path) as image:
        warnings.simplefilter("ignore")  # of broken EXIF
        image.draft("RGB", (2 * size[1], 2 * size[0]))  # spares most work for a large JPEG
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) / 257 + 0.5).astype(np.uint8))
        return np.asarray(ImageOps.fit(image.convert("RGB"), (size[1], size[0])))


def draw_sheet(images: np.ndarray, names: Sequence[str], plan: np.ndarray, title: str) -> Image:
    """Draw the sheet of one plan: own, partner, own weight, mixed image and label.

    Args:
        images: uint8 ``(B, H, W, 3)``.
        names: Class name of each image.
        plan: Records of :data:`PLAN_DTYPE`, ``(B,)``.
        title: First line of the sheet.
    """
    classes = sorted(set(names))
    labels = np.array([classes.index(name) for name in names])
    label_rows = targets(labels, plan, num_classes=len(classes))
    weights, mixed = mask(plan, *images.shape[1:3]), blend(images, plan)
    own_colour, partner_colour = SOURCES[:2]
    rows = []
    for own, partner in enumerate(plan["partner"]):
        # The weights as the model gets them: one if both are of one class.
        shown = dict.fromkeys((labels[own], labels[partner]))
        row = [label_rows[own, label] for label in shown]
        grey = np.rint(weights[own] * 255).astype(np.uint8)
        text = "   ".join(f"{w:.2f} {classes[i]}" for i, w in zip(shown, row, strict=True))
        rows.append(
            (
                Cell(images[own], names[own], ((1.0, own_colour),)),
                Cell(images[partner], names[partner], ((1.0, partner_colour),)),
                Cell(grey, f"mean {weights[own].mean():.3f}"),
                Cell(mixed[own], text, tuple(zip(row, SOURCES, strict=False))),
            )
        )
    return sheet(rows, title=title, heads=("own", "partner", "own weight", "mixed"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``python -m dali_msda preview``."""
    add = parser.add_argument
    add("folder", metavar="DIR", help="folder of images, or of folders of them (the classes)")
    add("--policy", choices=tuple(POLICIES), default="cutmix", help="method (cutmix)")
    add("--alpha", type=float, default=1.0, help="of Beta(alpha, alpha), 0.01 to 100 (1)")
    add("--lam", type=float, help="fixed own share in [0, 1], instead of a drawn one")
    add("--box", choices=[box for box in BOXES if box != "minmax"], help="where boxes lie (clip)")
    add("--size", type=_size, default=(224, 224), metavar="HxW", help="of the images (224x224)")
    add("--rows", type=int, default=6, help="samples to show, at least 2 (6)")
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
    if args.rows < 2:
        raise ValueError(f"rows: expected at least 2, got {args.rows}; a sample needs a partner")
    if args.seed < 0:
        raise ValueError(f"seed: expected at least 0, got {args.seed}")
    policy = _policy(args)
    height, width = args.size
    # Checks lam before the work.
    draw(Mixup(), args.rows, height, width, seed=args.seed, step=0, lam=args.lam)
    output = _output(args.output)
    found = load(args.folder, args.rows, args.size, args.seed)
    if len(found) < 2:
        raise ValueError(
            f"folder: expected at least 2 images that can be decoded, got {len(found)} in "
            f"{args.folder!r}"
        )
    images, names = np.stack([image for image, _ in found]), [name for _, name in found]
    peaks = saliency(images) if policy.needs_peaks else None
    plan = draw(
        policy, len(found), height, width, seed=args.seed, step=0, lam=args.lam, peaks=peaks
    )
    lam = "drawn" if args.lam is None else f"{args.lam:g}"
    box = f", box {policy.box}" if hasattr(policy, "box") else ""
    title = f"{args.policy}: lam {lam}, alpha {args.alpha:g}{box}, seed {args.seed}"
    save(draw_sheet(images, names, plan, title), output)
    print(f"{output}: {len(found)} samples of {args.folder}")


def _policy(args: argparse.Namespace) -> Leaf:
    """The policy, with a rule that never mixes a sample with itself."""
    options = dict(alpha=args.alpha, partner="derangement")
    kind = POLICIES[args.policy]
    if args.box is not None:
        if "box" not in {field.name for field in fields(kind)}:
            raise ValueError(f"box: expected none with policy {args.policy!r}, got {args.box!r}")
        options["box"] = args.box
    return kind(**options)
