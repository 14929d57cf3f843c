"""JPEGs with single bytes changed, through `check` and the decoders of the loaders.

Nothing may crash or hang, and what `check` takes the decoders must take.
"""

import numpy as np
import pytest

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
    from dali_msda.pipelines.check import check
    from dali_msda.pipelines.data import decoding

    write(root, count)
    report = check(root, workers=1)
    assert len(report.good) + len(report.bad) == count
    crashed = {name: reason for name, reason in report.bad.items() if "crashes" in reason}
    assert not crashed
    taken = {name for name, _ in report.good}
    for number in range(count):
        name = f"only/{number:05d}.jpg"
        try:
            decoding.decode(str(root / name))
        except (decoding.Undecodable, OSError) as error:
            assert name not in taken or count == MANY, f"{name}: taken by check: {error}"
    return report


def test_a_few_mutated_jpegs(tmp_path):
    report = through_everything(tmp_path, FEW)
    assert report.good and report.bad


@pytest.mark.slow
def test_many_mutated_jpegs(tmp_path):
    through_everything(tmp_path, MANY)
