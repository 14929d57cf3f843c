"""The JPEGs that the loaders read: the demo's, and some of the sizes of ImageNet's.

Both come from the photographs that ship inside scikit-image and scikit-learn, and are made once.
Small images flatter whoever decodes least, so whole loaders are compared over ImageNet's sizes.
"""

import itertools
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from bench.cases import Missing

FOLDER = Path(__file__).parents[3] / "build" / "bench"
COLOURED = "astronaut cat coffee flower motorcycle pagoda retina rocket tissue".split()
SIZES = ((500, 375), (500, 333), (375, 500), (500, 400), (480, 360), (512, 384))  # width, height
NOISE = 6.5  # of 255: makes up for what scaling smoothed; a file then has 92 kB on average
LEAST_PART = 0.75  # of a photograph's shorter side: the least that a JPEG shows of it


def of_the_demo(count: int = 0) -> object:
    """The demo's photographs as a source of the loaders; repeated up to a count.

    Raises:
        Missing: If the pipelines or the photographs are not installed.
    """
    datasets, demo_data = _pipelines()
    try:
        demo_data.make(FOLDER / "jpegs")
    except FileNotFoundError as error:  # a wheel that has them is not installed
        raise Missing(str(error)) from error
    root = str(FOLDER / "jpegs/train")
    source = datasets.find(root)
    if count <= len(source.files):
        return source
    lines = [f"{os.path.relpath(file, root)} {label}\n"
             for file, label in zip(source.files, source.labels, strict=True)]  # fmt: skip
    listed = _listed(root, count)
    listed.write_text("".join(itertools.islice(itertools.cycle(lines), count)))
    return datasets.find(root, file_list=str(listed))


def of_imagenet_size(count: int) -> object:
    """JPEGs of about 500 x 375 pixels and quality 90 to 95, as a source of the loaders.

    Each shows most of a coloured photograph, brought to one of ``SIZES``. Two of three have chroma
    at half the resolution.

    Raises:
        Missing: If the pipelines or the photographs are not installed.
    """
    datasets, demo_data = _pipelines()
    folder = FOLDER / f"imagenet-size-{count}"
    if not folder.is_dir():
        made = folder.with_name(f".{folder.name}.{os.getpid()}")
        try:
            for number in range(count):
                name = COLOURED[number % len(COLOURED)]
                path = made / name / f"{number:05d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(demo_data.photograph(name), path, np.random.default_rng(number))
            made.rename(folder)  # whole or not at all
        except FileNotFoundError as error:
            raise Missing(str(error)) from error
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return datasets.find(str(folder))


def _write(photograph: Image.Image, path: Path, rng: np.random.Generator) -> None:
    """A random part of a photograph, of the shape of one of the sizes and brought to it."""
    width, height = SIZES[rng.integers(len(SIZES))]
    largest = min(photograph.width / width, photograph.height / height)
    across, down = (largest * rng.uniform(LEAST_PART, 1) * side for side in (width, height))
    x = rng.uniform(0, photograph.width - across)
    y = rng.uniform(0, photograph.height - down)
    part = photograph.convert("RGB").resize(
        (width, height), Image.Resampling.BICUBIC, box=(x, y, x + across, y + down)
    )
    pixels = np.asarray(part, np.float32) + rng.normal(0, NOISE, (height, width, 1))
    part = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    chroma = "4:2:0" if rng.random() < 2 / 3 else "4:4:4"
    part.save(path, quality=int(rng.integers(90, 96)), subsampling=chroma)


def beton(source: object, write_mode: str = "jpg") -> Path:
    """The same images as a .beton, written once: all as JPEGs, or half of them ("proportion")."""
    try:
        from dali_msda.pipelines.write_beton import write_beton

        listed = _listed(source.root, len(source.files))
        path = listed.with_name(f"{listed.stem}-{write_mode}.beton")
        if not path.exists():
            given = str(listed) if listed.exists() else None
            write_beton(source.root, path, file_list=given, write_mode=write_mode)
    except ImportError as error:
        raise Missing(f"ffcv: {error}") from error
    return path


def _listed(root: str, count: int) -> Path:
    """Where the list lies of images of a folder that are repeated up to a count."""
    return FOLDER / f"{Path(root).name}-{count}.txt"


def _pipelines() -> tuple:
    try:
        from dali_msda.pipelines.data import datasets, demo_data
    except ImportError as error:
        raise Missing(f"pipelines: {error}; `pip install -e .` brings them") from error
    return datasets, demo_data
