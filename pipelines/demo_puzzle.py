"""The demo's picture of Puzzle Mix: what its network looks at, and what becomes of a pair."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from dali_msda import Mixup, draw, puzzle
from dali_msda.commands.pictures import load
from dali_msda.commands.preview import SOURCES, Cell, save, sheet

PAIRS, SIDE, BLOCKS, LAM = 6, 160, 8, 0.5  # rows, least pixels of a picture's side, settings
# With the usual settings and this lambda, most of a mask is half and half; and few blocks move.
SETTINGS = puzzle.PuzzleSettings(cell=2, levels=2, beta=0.6, move_cost=0.05)
HEADS = ("own", "partner", "own saliency", "its saliency", "own weight", "own, moved")
HEADS += ("partner, moved", "mixed")
TITLE = "Puzzle Mix in two levels: masks of least cost, and salient blocks that move"


def draw_pairs(folder: Path, checkpoint: Path, path: Path) -> None:
    """Save a sheet of pairs from a folder of classes, mixed by the saliency of a trained network.

    Args:
        folder: Class folders, whose names the network's classes have.
        checkpoint: Of the training program.
        path: Where to save the sheet.

    Raises:
        OSError, ValueError: If the checkpoint or the pictures are not there.
    """
    from dali_msda.pipelines.training.run_folder import load_checkpoint

    state = load_checkpoint(checkpoint)
    size = state["config"]["size"]
    images, names = zip(*load(folder, PAIRS, (size, size), seed=0), strict=True)
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    pixels, labels = np.stack(images), [classes.index(name) for name in names]
    maps = saliency_of(state, pixels, labels, len(classes))
    policy = Mixup(partner="derangement")
    plan = draw(policy, len(pixels), size, size, seed=0, step=0, lam=LAM)
    found = puzzle.solve(pixels, maps, plan, blocks=BLOCKS, settings=SETTINGS)
    rows = rows_of(pixels, list(names), maps, found)
    save(sheet(rows, title=TITLE), path)


def saliency_of(state: dict, pixels: np.ndarray, labels: list[int], classes: int) -> np.ndarray:
    """The trained network's saliency of images, float32 ``(B, H, W)``."""
    import torch

    from dali_msda.pipelines.loaders.epochs import IMAGENET_MEAN, IMAGENET_STD
    from dali_msda.pipelines.training.models import make_model
    from dali_msda.torch import saliency

    model = make_model(state["config"]["model"], classes)
    model.load_state_dict(state["model"])
    normal = (pixels - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    images = torch.from_numpy(normal.transpose(0, 3, 1, 2).astype(np.float32))
    return saliency(model, images, torch.tensor(labels)).numpy()


def rows_of(
    pixels: np.ndarray, names: list[str], maps: np.ndarray, found: puzzle.Solution
) -> list[list[Cell]]:
    """Own image and partner, the saliency of their blocks, the mask, both moved, and the mix.

    Args:
        pixels: uint8 ``(B, H, W, 3)``.
        names: Class name of each image.
        maps: Their saliency, ``(B, H, W)``.
        found: What was found for them.
    """
    size, partner = pixels.shape[1], found.plan["partner"]
    each = size // found.cells.shape[-2]
    shares = maps.reshape(len(maps), -1, each, size // each, each).mean((2, 4))
    bright = shares / shares.max((1, 2), keepdims=True)
    weights = np.rint(found.mask(size, size) * 255).astype(np.uint8)
    grey = np.rint(bright * 255).astype(np.uint8).repeat(each, 1).repeat(each, 2)
    own, other = (moved(pixels, found, weight) for weight in (found.levels - 1, 0))
    columns = pixels, pixels[partner], grey, grey[partner], weights, own, other
    columns += (puzzle.blend(pixels, found),)
    rows = []
    for slot, record in enumerate(found.plan):
        pair = names[slot], names[record["partner"]]
        shares = float(record["weight"]), float(record["partner_weight"])
        texts = {0: pair[0], 1: pair[1], 4: f"mean {shares[0]:.2f}"}
        texts[7] = "   ".join(
            f"{share:.2f} {name}" for share, name in zip(shares, pair, strict=True)
        )
        bars = {0: ((1.0, SOURCES[0]),), 1: ((1.0, SOURCES[1]),)}
        bars[7] = tuple(zip(shares, SOURCES, strict=False))
        rows.append(
            [
                Cell(
                    _large(column[slot]), texts.get(at, ""), bars.get(at, ()), "" if slot else head
                )
                for at, (head, column) in enumerate(zip(HEADS, columns, strict=True))
            ]
        )
    return rows


def moved(pixels: np.ndarray, found: puzzle.Solution, weight: int) -> np.ndarray:
    """Own images after their blocks have moved, or with an own weight of 0 the partners."""
    cells = found.cells.copy()
    cells[..., 0] = weight
    return puzzle.blend(pixels, dataclasses.replace(found, cells=cells))


def _large(image: np.ndarray) -> np.ndarray:
    """The image with each pixel several times, so that a caption has room below it."""
    times = -(-SIDE // len(image))
    return image.repeat(times, 0).repeat(times, 1)
