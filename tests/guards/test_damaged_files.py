"""Checkpoints and .beton files with bytes changed, cut out or put in, or with their end missing.

Each is read, or refused by an error in the house form that asks for little memory.
"""

import tracemalloc

import numpy as np
import pytest
import torch

from dali_msda.pipelines.data import datasets
from dali_msda.pipelines.training import run_folder
from tests.guards.fuzz import HOUSE_FORM
from tests.support.ffcv_processes import needs_ffcv

FEW, MANY = 250, 10_000
ROOM = 100 << 20  # bytes, many times what reading one takes
TABLES = 1200  # bytes at the start of the .beton that hold its header, its fields and its images


def damaged(data, rng, near):
    """A copy; most changes hit the first bytes or, as often, the last ones."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(min(near, len(data)) if rng.random() < 0.8 else len(data)))
        if rng.random() < 0.4:
            at = len(data) - 1 - at
        match rng.integers(9):
            case 0:
                del data[at:]
            case 1:
                del data[at : at + 8]
            case 2:
                data[at:at] = rng.bytes(8)
            case 3:
                data[at : at + 8] = b"\xff" * 8
            case 4:
                data[at : at + 4] = bytes(4)
            case _:
                data[at : at + 1] = rng.bytes(1)
        data = data or bytearray(b"\0")
    return bytes(data)


def expect_read_or_refused(path, read, count, near):
    """Number of those that were refused."""
    data, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    read(path)  # whole, and what is loaded once is loaded
    for number in range(count):
        path.write_bytes(damaged(data, rng, near))
        tracemalloc.start()
        try:
            read(path)
        except (ValueError, OSError) as error:
            assert HOUSE_FORM.match(str(error)), (number, error)
            refused += 1
        finally:
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert most < ROOM, number
    return refused


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_damaged_checkpoints(tmp_path, count):
    folder = run_folder.RunFolder(tmp_path, "csv")
    rank = dict(loader={"epoch": 0}, loss_sum=torch.zeros(()), random=torch.get_rng_state())
    rank["mixed"] = {}
    weights = {"weight": torch.arange(64.0)}
    folder.save(dict(config={}, step=1, model=weights, optimizer={}, ranks=[rank]))
    folder.close()
    path = folder.checkpoint
    refused = expect_read_or_refused(path, run_folder.load_checkpoint, count, 10**6)
    assert refused > 0.9 * count  # what is left are bytes between its parts


@needs_ffcv
@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_damaged_betons(tmp_path, count):
    from dali_msda.ffcv.library import FfcvLoader  # noqa: F401  isort: skip
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import MIN_PAGE_SIZE, DatasetWriter

    path = tmp_path / "a.beton"
    fields = {"image": RGBImageField(), "label": IntField()}
    images = [(np.full((8, 9, 3), k, np.uint8), k % 3) for k in range(20)]
    writer = DatasetWriter(str(path), fields, page_size=MIN_PAGE_SIZE, num_workers=1)
    writer.from_indexed_dataset(images)
    find = lambda path: datasets.find(str(path)).fingerprint()  # noqa: E731
    assert expect_read_or_refused(path, find, count, TABLES) > 0.5 * count
