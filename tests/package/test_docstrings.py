"""The examples in docstrings run, and the signatures of the public face hide nothing."""

import ast
import inspect
import re
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nvidia.dali import fn, pipeline_def
from torch import nn
from torch.utils.data import DataLoader

import dali_msda
import dali_msda.dali
import dali_msda.timm
import dali_msda.torch
import dali_msda.torchvision
from tests.support.coloured_folders import write_folder

PACKAGE = Path(dali_msda.__file__).parent
# Blocks that state arithmetic, by the file and the name of what they document.
FORMULAS = {
    "ops.py: blend",
    "torch/losses.py: lamix_loss",
    "torch/methods/align.py: align",
    "torch/methods/style_arithmetic.py: stylemix",
    "torch/methods/style_arithmetic.py: stylecutmix",
}


def examples():
    """The indented blocks of all docstrings, by file and name."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                found = re.findall(r"::\n\n((?:    .*\n|\n)+?)(?=\S|\Z)", text + "\n")
                if found:
                    key = f"{name}: {node.name}" if not isinstance(node, ast.Module) else name
                    yield key, [textwrap.dedent(block) for block in found]


EXAMPLES = dict(examples())


class Net(nn.Module):
    """A small network with the layers that the examples name."""

    def __init__(self, classes):
        super().__init__()
        self.layer1, self.layer2 = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 4, 3, 2)
        self.layer4, self.fc = nn.Conv2d(4, 4, 1), nn.Linear(4, classes)

    def forward(self, images):
        features = self.layer4(self.layer2(self.layer1(images)))
        return self.fc(features.mean((2, 3)))


def of_arrays(tmp_path):
    """What the examples of array functions take as given."""
    numbers = np.random.default_rng(0)
    images = numbers.integers(0, 256, (8, 224, 224, 3), np.uint8)
    return vars(dali_msda) | {
        "images": images,
        "labels": np.arange(8),
        "flags": np.arange(8) % 2,
        "depth": images[..., :1].astype(np.float32),
        "maps": images[..., 0].copy(),
        "boxes_": [np.array([[1.0, 2.0, 30.0, 40.0]])] * 8,
        "labels_": [np.array([1])] * 8,
        "ages": numbers.random(8),
        "tags": np.eye(8, dtype=np.float32),
    }


def of_batches(tmp_path, size=16):
    """What the examples of a training step take as given."""
    images, labels, model = torch.rand(8, 3, size, size), torch.arange(8), Net(100)
    return vars(dali_msda) | vars(dali_msda.torch) | {
        "range": lambda epochs: range(1),
        "loader": [(images, labels)],
        "images": images,
        "labels": labels,
        "device": "cpu",
        "model": model,
        "backbone": lambda images: model.layer2(model.layer1(images)),
        "fc": nn.Linear(4, 100),
        "fc_roi": nn.Linear(4, 100),
        "kornia": SimpleNamespace(augmentation=SimpleNamespace(ImageSequential=nn.Sequential)),
        "RandomHorizontalFlip": nn.Identity,
        "vgg": nn.Conv2d(3, 4, 3, padding=1),
        "decoder": nn.Conv2d(4, 3, 3, padding=1),
    }  # fmt: skip


def of_loaders(tmp_path):
    """What the examples of a DataLoader take as given; it starts no workers here."""
    given = of_batches(tmp_path)
    return given | vars(torch.utils.data) | {
        "DataLoader": lambda *data, **how: DataLoader(*data, **how | {"num_workers": 0}),
        "data": [(np.zeros((16, 16, 3), np.uint8), label) for label in range(8)],
        "model": Net(1000),
        "collate": dali_msda.torch.Collate(dali_msda.CutMix(), num_classes=1000),
    }  # fmt: skip


GIVEN = {
    "__init__.py": of_arrays,
    "annotations/__init__.py": of_arrays,
    "torch/collate.py: Collate": of_loaders,
    "torch/indexed.py: NumberedBatches": of_loaders,
    "torch/methods/comixup.py: CoMixup": lambda tmp_path: of_batches(tmp_path, 32),
    "torch/methods/align.py: AlignMix": of_batches,
    "torch/methods/manifold.py: ManifoldMixup": of_batches,
    "torch/methods/recursive.py: RecursiveMix": of_batches,
    "torch/methods/style.py: StyleMix": lambda tmp_path: of_batches(tmp_path, 224),
    "torch/methods/puzzle.py: PuzzleMix": of_batches,
    "torch/transform.py: Mixer": of_batches,
}
# Tested below, in test_readme.py, and in tests/with_torch/drop_ins/test_timm_prefetcher.py.
ELSEWHERE = {
    "dali/__init__.py",
    "ffcv/__init__.py",
    "timm/fast_collate.py: FastCollateMixup",
}


def test_every_block_is_run_or_is_a_formula():
    assert set(EXAMPLES) == FORMULAS | set(GIVEN) | ELSEWHERE


@pytest.mark.parametrize("key", GIVEN)
def test_an_example_runs(key, tmp_path):
    names = GIVEN[key](tmp_path) | {"MEAN": [1.0, 2.0, 3.0], "STD": [4.0, 5.0, 6.0]}
    for block in EXAMPLES[key]:  # which go on from one another
        exec(compile(block.replace(", ...)", ")"), key, "exec"), names)


def test_the_examples_of_dali_run(tmp_path):
    write_folder(tmp_path, [4, 4])
    whole, inside = EXAMPLES["dali/__init__.py"]
    names = {"pipeline_def": pipeline_def, "fn": fn, "CutMix": dali_msda.CutMix, "rank": 0}
    names |= {"root": str(tmp_path), "MEAN": [1.0, 2.0, 3.0], "STD": [4.0, 5.0, 6.0]}
    head = "from dali_msda.dali import blend, plan\n"
    given = whole.partition("    return")[0] + "    maps = images\n"
    rest = textwrap.indent(inside, "    ") + "    return images, maps, targets\n"
    for code, outputs in ((whole, 2), (head + given + rest, 3)):
        made = dict(names)
        exec(compile(code, "dali", "exec"), made)
        pipeline = made["train"](batch_size=4, num_threads=1)
        pipeline.build()
        assert len(pipeline.run()) == outputs


def public():
    """Every public function, class and method, by name."""
    modules = [dali_msda, dali_msda.torch, dali_msda.timm, dali_msda.torchvision, dali_msda.dali]
    for module in modules:
        for name in module.__all__:
            what = getattr(module, name)
            if not callable(what):
                continue
            if "__init__" in vars(what) or not inspect.isclass(what):
                yield f"{module.__name__}.{name}", what
            if inspect.isclass(what):
                for method, function in vars(what).items():
                    if inspect.isfunction(function) and not method.startswith("_"):
                        yield f"{module.__name__}.{name}.{method}", function


PUBLIC = dict(public())


@pytest.mark.parametrize("name", PUBLIC)
def test_a_signature_names_every_argument_and_its_type(name):
    parameters = inspect.signature(PUBLIC[name]).parameters.values()
    hidden = [each.name for each in parameters if each.kind is each.VAR_KEYWORD]
    untyped = [each.name for each in parameters if each.annotation is each.empty]
    assert not hidden and set(untyped) <= {"self"}
