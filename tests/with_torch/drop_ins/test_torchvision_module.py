"""torchvision's transforms as modules: parts of a model, base classes, and imports."""

import subprocess
import sys

import pytest
import torch

from dali_msda.torch.torchvision_cpu import declare_operators

declare_operators()
v2 = pytest.importorskip("torchvision.transforms.v2")

from dali_msda.torchvision import CutMix, MixUp  # noqa: E402

BATCH, CLASSES = 6, 5
IMAGES = torch.rand(BATCH, 3, 13, 18, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 4, 3, 2, 1, 0])
THEIRS = {MixUp: v2.MixUp, CutMix: v2.CutMix}
KINDS = pytest.mark.parametrize("kind", [MixUp, CutMix])


def model(kind):
    return torch.nn.ModuleDict({"net": torch.nn.Linear(2, 2), "mix": kind(num_classes=CLASSES)})


@KINDS
def test_checkpoints_of_a_model_load_both_ways(kind):
    ours, theirs = model(kind), model(THEIRS[kind])
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["net.weight", "net.bias"]
    assert all(isinstance(value, torch.Tensor) for value in ours.state_dict().values())
    states = {}
    assert ours["mix"].state_dict(destination=states, prefix="mix.") is states == {}
    for source, goal in ((ours, theirs), (theirs, ours), (ours, model(kind))):
        assert str(goal.load_state_dict(source.state_dict())) == "<All keys matched successfully>"


@KINDS
def test_readers_of_a_models_state(tmp_path, kind):
    safetensors = pytest.importorskip("safetensors.torch")
    utils = pytest.importorskip("timm.utils")
    made = model(kind)
    utils.ModelEmaV2(made).update(made)
    utils.ModelEmaV3(made).update(made)
    safetensors.save_model(made, str(tmp_path / "a.safetensors"))
    safetensors.load_model(made, str(tmp_path / "a.safetensors"))


@KINDS
def test_a_transform_alone_has_a_state_and_goes_on(kind):
    first = kind(num_classes=CLASSES)
    first(IMAGES, LABELS)
    again = kind(num_classes=CLASSES)
    again.load_state_dict(first.state_dict())
    torch.testing.assert_close(again(IMAGES, LABELS), first(IMAGES, LABELS), rtol=0, atol=0)


class FixedLambda(MixUp):
    def make_params(self, flat_inputs):
        return dict(lam=0.3)


class TheirFixedLambda(v2.MixUp):
    make_params = FixedLambda.make_params


class FixedBox(CutMix):
    def make_params(self, flat_inputs):
        return dict(box=(2, 3, 11, 9), lam_adjusted=0.75)


class TheirFixedBox(v2.CutMix):
    make_params = FixedBox.make_params


class Records(CutMix):
    def make_params(self, flat_inputs):
        self.params = super().make_params(flat_inputs)
        return self.params


@pytest.mark.parametrize("ours, theirs", [(FixedLambda, TheirFixedLambda),
                                          (FixedBox, TheirFixedBox)])  # fmt: skip
def test_derived_classes_may_draw_the_parameters(ours, theirs):
    for labels in (LABELS, torch.rand(BATCH, CLASSES)):
        got = ours(num_classes=CLASSES)(IMAGES, labels)
        want = theirs(num_classes=CLASSES)(IMAGES, labels)
        torch.testing.assert_close(got, want, rtol=1e-6, atol=2e-7)


def test_parameters_are_torchvisions():
    transform = Records(num_classes=CLASSES)
    for _ in range(5):
        images, _ = transform(IMAGES, LABELS)
        x0, y0, x1, y1 = transform.params["box"]
        share = 1 - (x1 - x0) * (y1 - y0) / (13 * 18)
        assert transform.params["lam_adjusted"] == pytest.approx(share, abs=1e-6)
        mask = torch.zeros(13, 18, dtype=torch.bool)
        mask[y0:y1, x0:x1] = True
        assert torch.equal(images, torch.where(mask, IMAGES.roll(1, 0), IMAGES))
    params = MixUp(num_classes=CLASSES).make_params([IMAGES])
    assert list(params) == ["lam"] and 0 <= params["lam"] <= 1


@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_indices_of_a_float_type_are_refused(kind, dtype):
    labels = LABELS.to(dtype) + 0.7
    with pytest.raises(RuntimeError):  # of theirs: "only applicable to index tensor"
        THEIRS[kind](num_classes=CLASSES)(IMAGES, labels)
    with pytest.raises(TypeError, match="labels: expected class indices of an integer type, got f"):
        kind(num_classes=CLASSES)(IMAGES, labels)


@KINDS
def test_gradients_are_refused(kind):
    transform = kind(num_classes=CLASSES)
    rows = torch.rand(BATCH, CLASSES, requires_grad=True)
    with pytest.raises(ValueError, match="labels: expected data, got a tensor that requires a gr"):
        transform(IMAGES, rows)
    with pytest.raises(ValueError, match="images: expected data, got a tensor that requires a gr"):
        transform(IMAGES.clone().requires_grad_(), LABELS)
    with torch.no_grad():
        transform(IMAGES, rows)


@KINDS
@pytest.mark.parametrize("alpha, error", [(0.001, ValueError), (0, ValueError), (-1.0, ValueError),
                                          ("1", TypeError), (None, TypeError)])  # fmt: skip
def test_wrong_alphas(kind, alpha, error):
    with pytest.raises(error, match=r"alpha: expected a number in \[0.01, 100\], got"):
        kind(alpha=alpha)


@KINDS
@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches(kind, batch):
    images, rows = kind(num_classes=CLASSES)(IMAGES[:batch], LABELS[:batch])
    assert torch.equal(images, IMAGES[:batch])
    assert rows.tolist() == torch.eye(CLASSES)[LABELS[:batch]].tolist()


def test_it_is_imported_beside_a_torch_that_torchvision_was_not_built_for():
    code = "import dali_msda.torchvision as d; print(d.MixUp(num_classes=2))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("MixUp(")
