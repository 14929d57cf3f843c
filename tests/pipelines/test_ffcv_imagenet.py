"""The ImageNet loaders of FFCV: ffcv_imagenet_cases.py, in a process of its own."""

import pytest

from dali_msda.pipelines.write_beton import write_beton
from tests.support.coloured_folders import write_folder
from tests.support.ffcv_processes import expect_success, needs_ffcv, run, started
from tests.support.photographs import write_textures

pytestmark = needs_ffcv
COUNTS, TEXTURES = (12, 11, 11), (9, 8, 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("ffcv")
    write_folder(root / "colours", COUNTS)
    write_textures(root / "textures", TEXTURES)
    for name in ("colours", "textures"):
        write_beton(root / name, root / f"{name}.beton", workers=1)
    write_beton(root / "textures", root / "jpegs.beton", workers=1, write_mode="jpg")
    return root


@pytest.mark.parametrize(
    "case", "training evaluation resume loops mixes copies formats decoder doors".split()
)
def test_case(folder, case):
    run("tests.pipelines.ffcv_imagenet_cases", case, folder)


@pytest.mark.gpu
def test_on_a_gpu(folder):
    expect_success(started("tests.pipelines.ffcv_imagenet_cases", "gpu", folder))
