"""Makes a small ImageFolder of real JPEGs from photographs that come with two Python packages.

    python -m dali_msda.pipelines.data.demo_data demo/data

scikit-image and scikit-learn have a few photographs inside their wheels, so nothing is downloaded.
Each photograph is a class. A straight cut divides it in two: training crops come from one side,
validation crops from the other, so no pixel is ever seen in both. As files in the wild do, the
crops differ in size, aspect, JPEG quality, chroma subsampling and scan order, and some are
greyscale.
"""

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

SPLITS = ("train", "val")
MARKER = "SOURCES.txt"  # written last, before the folder gets its name: it marks a whole data set
VALIDATION_SHARE = 0.4  # of the photograph's width or height
SHORT_SIDE = (96, 360)  # bounds of the shorter side of a JPEG, in pixels


class Photograph(NamedTuple):
    """A photograph inside a wheel, and the side of it that is kept for validation."""

    package: str
    file: str
    validation: str


SKIMAGE, SKLEARN = "skimage", "sklearn"
PHOTOGRAPHS = {
    "astronaut": Photograph(SKIMAGE, "data/astronaut.png", "left"),
    "brick": Photograph(SKIMAGE, "data/brick.png", "right"),
    "cat": Photograph(SKIMAGE, "data/chelsea.png", "right"),
    "coffee": Photograph(SKIMAGE, "data/coffee.png", "left"),
    "coins": Photograph(SKIMAGE, "data/coins.png", "right"),
    "flower": Photograph(SKLEARN, "datasets/images/flower.jpg", "bottom"),
    "galaxies": Photograph(SKIMAGE, "data/hubble_deep_field.jpg", "right"),
    "grass": Photograph(SKIMAGE, "data/grass.png", "right"),
    "gravel": Photograph(SKIMAGE, "data/gravel.png", "right"),
    "moon": Photograph(SKIMAGE, "data/moon.png", "right"),
    "motorcycle": Photograph(SKIMAGE, "data/motorcycle_left.png", "right"),
    "pagoda": Photograph(SKLEARN, "datasets/images/china.jpg", "left"),
    "photographer": Photograph(SKIMAGE, "data/camera.png", "bottom"),
    "retina": Photograph(SKIMAGE, "data/retina.jpg", "right"),
    "rocket": Photograph(SKIMAGE, "data/rocket.jpg", "right"),
    "tissue": Photograph(SKIMAGE, "data/ihc.png", "right"),
}
PROJECTS = {SKIMAGE: "scikit-image", SKLEARN: "scikit-learn"}


def make(folder: str | os.PathLike, *, per_class: int = 24, seed: int = 0) -> bool:
    """Make the demo data, unless the folder already holds it.

    The crops are drawn from ``(seed, class, split)``, so the same numbers give the same crops. The
    folder appears whole or not at all: it is written beside its place and then renamed.

    Args:
        folder: Where ``train/<class>/*.jpg`` and ``val/<class>/*.jpg`` are put.
        per_class: Training crops of each class, at least 3; validation has a third of it.
        seed: Seed of the crops, at least 0.

    Returns:
        True if the data was made, False if it was there already and was kept.

    Raises:
        ValueError: If an argument is out of range.
        FileExistsError: If the folder holds something else, or data made with other settings.
        FileNotFoundError: If a wheel lacks one of the photographs.
        OSError: If the folder cannot be written.
    """
    if per_class < 3:
        raise ValueError(f"per_class: expected at least 3, got {per_class}")
    if seed < 0:
        raise ValueError(f"seed: expected at least 0, got {seed}")
    folder = Path(folder)
    sources = _sources(per_class, seed)
    if _is_made(folder, sources):
        return False
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise OSError(
            f"{folder}: expected a place for a folder, got {error.strerror!r}. Name another one."
        ) from error
    try:
        for number, name in enumerate(PHOTOGRAPHS):
            for split, count in zip(SPLITS, (per_class, per_class // 3), strict=True):
                rng = np.random.default_rng([seed, number, SPLITS.index(split)])
                _write_class(unfinished / split / name, _region(name, split), count, rng)
        (unfinished / MARKER).write_text(sources, encoding="utf-8")
        unfinished.chmod(0o755)  # mkdtemp makes it private
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return True


def photograph(name: str) -> Image.Image:
    """Open the photograph of a class.

    Raises:
        FileNotFoundError: If the package or the file in it is missing.
    """
    place = PHOTOGRAPHS[name]
    project = PROJECTS[place.package]
    found = importlib.util.find_spec(place.package)  # finds it without importing it
    if found is None:
        raise FileNotFoundError(
            f"{project}: expected it to be installed. Run: pip install {project}"
        )
    path = Path(found.origin).parent / place.file
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected the photograph of class {name!r} inside {project}, got no file. "
            f"Run: pip install --force-reinstall {project}"
        )
    return Image.open(path)


def _sources(per_class: int, seed: int) -> str:
    """Text of the marker: the settings, and where every class comes from."""
    lines = [f"Demo data of dali_msda: {per_class} training crops per class, seed {seed}.", ""]
    for name, photograph in PHOTOGRAPHS.items():
        lines.append(f"{name}: {photograph.file} of {PROJECTS[photograph.package]}")
    lines += ["", "Authors and licences: see the documentation of these two projects.", ""]
    return "\n".join(lines)


def _is_made(folder: Path, sources: str) -> bool:
    """Whether the folder holds exactly this data; FileExistsError if it holds anything else."""
    parent = folder.parent
    if os.path.lexists(parent) and not parent.is_dir():
        raise FileExistsError(f"{parent}: expected a folder, got a file. Name another place.")
    if not folder.is_dir():
        if os.path.lexists(folder):
            raise FileExistsError(f"{folder}: expected a folder or nothing, got a file")
        return False
    marker = folder / MARKER
    if marker.is_file():
        found = marker.read_text(encoding="utf-8")
        if found != sources:
            raise FileExistsError(
                f"{folder}: expected {sources.splitlines()[0]!r}, got {found.splitlines()[:1]}. "
                "Delete the folder or name another one."
            )
        return True
    if any(folder.iterdir()):
        raise FileExistsError(
            f"{folder}: expected an empty folder or demo data, got other files. "
            "Name another folder; this one is left as it is."
        )
    return False


def _region(name: str, split: str) -> Image.Image:
    """The side of a photograph from which the crops of a split are cut."""
    image = photograph(name)
    width, height = image.size
    x, y = round(width * VALIDATION_SHARE), round(height * VALIDATION_SHARE)
    validation, training = {
        "left": ((0, 0, x, height), (x, 0, width, height)),
        "right": ((width - x, 0, width, height), (0, 0, width - x, height)),
        "bottom": ((0, height - y, width, height), (0, 0, width, height - y)),
    }[PHOTOGRAPHS[name].validation]
    return image.crop(training if split == "train" else validation)


def _write_class(folder: Path, region: Image.Image, count: int, rng: np.random.Generator) -> None:
    """Write ``count`` crops of a region."""
    folder.mkdir(parents=True)
    for index in range(count):
        crop = _crop(region, rng)
        settings = {
            "quality": int(rng.integers(50, 96)),
            "progressive": bool(rng.random() < 0.2),
            "subsampling": "4:2:0" if rng.random() < 0.7 else "4:4:4",
        }
        if crop.mode == "L":
            del settings["subsampling"]
        crop.save(folder / f"{index:04d}.jpg", **settings)


def _crop(region: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A random rectangle of a region, enlarged or reduced at random.

    The root of its area is 0.45 to 1 times the region's shorter side, and its aspect 3/4 to 4/3.
    Its shorter side then becomes a random length within ``SHORT_SIDE``. The crop is enlarged at
    most 1.6 times, unless it takes more to reach the least of these lengths.
    """
    side = min(region.size) * rng.uniform(0.45, 1.0)
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    width = min(round(side * np.sqrt(aspect)), region.width)
    height = min(round(side / np.sqrt(aspect)), region.height)
    x = int(rng.integers(region.width - width + 1))
    y = int(rng.integers(region.height - height + 1))
    # Cropped before it is resized: the filter must not reach across the cut.
    crop = region.crop((x, y, x + width, y + height))
    smallest, largest = SHORT_SIDE
    short = max(smallest, min(rng.uniform(smallest, largest), 1.6 * min(width, height)))
    scale = short / min(width, height)
    size = (round(width * scale), round(height * scale))
    return crop.resize(size, Image.Resampling.BICUBIC)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dali_msda.pipelines.data.demo_data",
        description=(
            "Make a small ImageFolder of JPEGs (train/, val/) from the photographs inside the "
            "scikit-image and scikit-learn wheels. Nothing is downloaded."
        ),
    )
    parser.add_argument("folder", metavar="DIR", help="folder to make; kept if it is there already")
    parser.add_argument("--per-class", type=int, default=24, metavar="N", help="training crops")
    parser.add_argument("--seed", type=int, default=0, help="seed of the crops")
    args = parser.parse_args(argv)
    try:
        made = make(args.folder, per_class=args.per_class, seed=args.seed)
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    counts = [len(list(Path(args.folder, split).glob("*/*.jpg"))) for split in SPLITS]
    print(
        f"{args.folder}: {'made' if made else 'kept, it was there already:'} {counts[0]} training "
        f"and {counts[1]} validation JPEGs of {len(PHOTOGRAPHS)} classes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
