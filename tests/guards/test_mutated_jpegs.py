"""JPEGs with single bytes changed, through `check` and the three loaders.

Nothing may crash or hang. What `check` takes all loaders must take, and what it refuses they must
refuse. Only a picture that lacks a part passes through DALI's where headers do not tell it.
"""

import numpy as np
import pytest

from tests.support.ffcv_processes import needs_ffcv
from tests.support.hostile_files import JPEG, encode, picture

FEW, MANY = 120, 20_000


def mutants(count, seed=0):
    """Whole JPEGs of several kinds in which a byte or two were changed, cut out or put in."""
    rng = np.random.default_rng(seed)
    kinds = [JPEG, encode(picture(17, 9)), encode(picture(mode="L"))]
    kinds += [encode(picture(), progressive=True), encode(picture(mode="CMYK"))]
    for number in range(count):
        data = bytearray(kinds[number % len(kinds)])
        for _ in range(rng.integers(1, 3)):
            # Half of the changes hit the headers, where lengths and sizes are.
            at = int(rng.integers(2, len(data) if rng.random() < 0.5 else 200))
            match rng.integers(6):
                case 0:
                    del data[at]
                case 1:
                    data.insert(at, rng.integers(256))
                case _:
                    data[at] = rng.integers(256)
        yield bytes(data)


def write(root, count):
    (root / "only").mkdir()
    for number, data in enumerate(mutants(count)):
        (root / "only" / f"{number:05d}.jpg").write_bytes(data)


def through_everything(root, count):
    """The report of `check`, to which the decoders of torch's and DALI's loaders were compared."""
    from dali_msda.pipelines.check import check
    from dali_msda.pipelines.data import decoding, image_formats
    from dali_msda.pipelines.loaders.dali_failures import decodes

    write(root, count)
    report = check(root, workers=1)
    assert len(report.good) + len(report.bad) == count
    crashed = {name: reason for name, reason in report.bad.items() if "crashes" in reason}
    assert not crashed
    taken = {name for name, _ in report.good}
    beyond_headers = 0
    for number in range(count):
        name = f"only/{number:05d}.jpg"
        try:
            decoding.decode(str(root / name))
        except (decoding.Undecodable, OSError) as error:
            assert name not in taken, f"{name}: taken by check: {error}"
        else:
            assert name in taken, f"{name}: refused by check: {report.bad[name]}"
        passes = decodes(np.fromfile(root / name, np.uint8))
        if name in taken:
            assert passes, name
        elif passes:
            assert report.bad[name] == image_formats.INCOMPLETE, (name, report.bad[name])
            beyond_headers += 1
    assert beyond_headers < count / 10
    return report


def test_a_few_mutated_jpegs(tmp_path):
    report = through_everything(tmp_path, FEW)
    assert report.good and report.bad


def read_by_dali(source):
    """Number of images that DALI's evaluation loader hands out; training decodes a part of each."""
    from dali_msda.pipelines.loaders.dali import EvaluationLoader

    with EvaluationLoader(source, batch_size=1, size=32, threads=1) as loader:
        return sum(len(images) for images, *_ in loader)


def read_by_torch(source):
    """Number of images that PyTorch's training loader hands out."""
    from dali_msda.pipelines.loaders.torch import TrainingLoader

    with TrainingLoader(source, batch_size=1, size=32, threads=1) as loader:
        return sum(len(images) for images, *_ in loader)


def through_loaders(root, count):
    """The files that are fine, by the list of `check`, and a few of the others one by one."""
    from dali_msda.pipelines.check import check
    from dali_msda.pipelines.data import datasets, image_formats

    write(root, count)
    report, listed = check(root, workers=1), root / "good.txt"
    report.write(listed)
    source = datasets.find(str(root), file_list=str(listed))
    assert read_by_dali(source) == read_by_torch(source) == len(report.good)
    known = [name for name, why in report.bad.items() if why != image_formats.INCOMPLETE]
    for name in known[:5]:
        one = datasets.ImageFolder(str(root), ("only",), (str(root / name),), (0,))
        for read in (read_by_dali, read_by_torch):
            with pytest.raises(datasets.DatasetError, match=rf"{name}: expected an image, got a"):
                read(one)
    return report


def through_ffcv(root, count):
    """What `check` takes is written and read; a file that it refuses is named."""
    from dali_msda.pipelines.data import datasets
    from dali_msda.pipelines.write_beton import write_beton

    report = through_loaders(root, count)
    written = write_beton(root, root / "a.beton", file_list=str(root / "good.txt"), workers=1)
    assert written == len(report.good)
    assert datasets.find(str(root / "a.beton")).labels.tolist() == [0] * written
    bad = next(iter(report.bad))
    (root / "bad.txt").write_text(f"{bad} 0\n")
    with pytest.raises(ValueError, match=rf"{bad}: expected an image, got a file that cannot"):
        write_beton(root, root / "b.beton", file_list=str(root / "bad.txt"), workers=1)


def test_a_few_mutated_jpegs_through_the_loaders(tmp_path):
    through_loaders(tmp_path, 24)


@needs_ffcv
def test_a_few_mutated_jpegs_through_ffcv(tmp_path):
    through_ffcv(tmp_path, 8)


@pytest.mark.slow
def test_many_mutated_jpegs(tmp_path):
    through_everything(tmp_path, MANY)


@pytest.mark.slow
@needs_ffcv
def test_many_mutated_jpegs_through_the_loaders(tmp_path):
    through_ffcv(tmp_path, 2000)
