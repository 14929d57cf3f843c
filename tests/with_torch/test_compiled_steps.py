"""Training steps under ``torch.compile`` that mix: the graph breaks there."""

import subprocess
import sys

import pytest
import torch

import dali_msda as msda
from dali_msda.timm import Mixup
from dali_msda.torch import Mixer
from dali_msda.torchvision import CutMix, MixUp

CLASSES = 4
TRANSFORMS = {
    "Mixer": lambda: Mixer(msda.FMix(), CLASSES),
    "Mixer compact": lambda: Mixer(msda.Mixup(n=3), compact=True),
    "timm": lambda: Mixup(0.8, 1.0, num_classes=CLASSES, seed=0),
    "torchvision MixUp": lambda: MixUp(num_classes=CLASSES, seed=0),
    "torchvision CutMix": lambda: CutMix(num_classes=CLASSES, seed=0),
}


@pytest.fixture(autouse=True)
def _nothing_compiled_before():
    torch._dynamo.reset()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_compiled_step_mixes_and_has_the_same_gradients(name):
    images = torch.rand(6, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6) % CLASSES
    found = []
    for compiled in (False, True):
        transform, w = TRANSFORMS[name](), torch.ones(3, 1, 1, requires_grad=True)

        def step(x, y, w=w, transform=transform):
            x, *rows = transform(x * 2, y)
            return ((x * w).square().mean() - rows[-1].mean()) ** 2

        run = torch.compile(step, backend="aot_eager") if compiled else step
        for _ in range(3):
            run(images.clone(), labels).backward()
        found.append(w.grad)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_compiled_model_that_holds_the_transform(name):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.net = TRANSFORMS[name](), torch.nn.Conv2d(3, 2, 1)

        def forward(self, x, y):
            return self.net(self.mix(x, y)[0]).sum()

    model = torch.compile(Model(), backend="aot_eager")
    model(torch.rand(4, 3, 8, 8), torch.arange(4)).backward()
    assert model.net.weight.grad.abs().sum() > 0


def test_without_compiling_the_compiler_is_not_imported():
    """It takes seconds, in each worker as well."""
    code = """
import sys, torch, dali_msda
from dali_msda.torch import Mixer
from dali_msda.timm import Mixup
for mix in (Mixer(dali_msda.CutMix(), 4), Mixup(num_classes=4)):
    mix(torch.rand(4, 3, 8, 8), torch.arange(4))
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
