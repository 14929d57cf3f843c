"""Puzzle Mix in a training step: saliency of a model, mixed batches, and their targets."""

import warnings

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional

import dali_msda as msda
from dali_msda import puzzle
from dali_msda.torch import Collate, ManifoldMixup, Mixer, PuzzleMix, saliency

BATCH, CLASSES = 6, 5
GENERATOR = torch.Generator().manual_seed(1)
IMAGES = torch.rand(BATCH, 3, 32, 32, generator=GENERATOR)
LABELS = torch.tensor([0, 4, 2, 2, 1, 3])
MAPS = torch.rand(BATCH, 32, 32, generator=GENERATOR) ** 8
LAST = torch.channels_last
SETTINGS = puzzle.PuzzleSettings(places=8, cell=2)


def network(channels=3):
    torch.manual_seed(0)
    layers = [nn.Conv2d(channels, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES))


def expected_saliency(model, images, labels):
    """With all gradients, as the released code finds it."""
    model = model.eval()
    pixels = images.clone().requires_grad_()
    functional.cross_entropy(model(pixels), labels).backward()
    return pixels.grad.square().mean(1).sqrt()


def normalised(maps):
    return maps / maps.sum((1, 2), keepdim=True)


# --------------------------------------------------------------------------------------- saliency


@pytest.mark.parametrize("order", [torch.contiguous_format, LAST], ids=["planes", "channels last"])
def test_saliency_is_that_of_all_gradients(order):
    model = network()
    got = saliency(model, IMAGES.to(memory_format=order), LABELS)
    assert got.shape == (BATCH, 32, 32) and got.dtype == torch.float32 and not got.requires_grad
    want = expected_saliency(network(), IMAGES, LABELS)
    torch.testing.assert_close(normalised(got), normalised(want), rtol=1e-4, atol=1e-8)


def test_the_pass_leaves_no_trace():
    """Modes, batch statistics, accumulated gradients, the images, and whether gradients are on."""
    model = network().train()
    model[1].eval()  # frozen
    functional.cross_entropy(model(IMAGES), LABELS).backward()
    grads = [parameter.grad.clone() for parameter in model.parameters()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    images = IMAGES.clone().requires_grad_()
    with torch.no_grad():
        saliency(model, images, LABELS)
        assert not torch.is_grad_enabled()
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        assert torch.equal(parameter.grad, grad)
    assert images.grad is None and torch.equal(images, IMAGES)


def test_modes_come_back_after_an_error():
    model = network().train()
    with pytest.raises(RuntimeError):
        saliency(model, IMAGES[:, :2], LABELS)
    assert all(part.training for part in model.modules())


def test_training_mode_sees_the_batch():
    model = network().train()
    before = model[1].running_mean.clone()
    saliency(model, IMAGES, LABELS, train=True)
    assert not torch.equal(model[1].running_mean, before)


def test_no_gradient_of_a_weight_is_computed():
    model = network()
    seen = []
    for parameter in model.parameters():
        parameter.register_hook(lambda grad: seen.append(grad))
    saliency(model, IMAGES, LABELS)
    assert not seen


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_saliency_under_autocast(dtype):
    want = normalised(saliency(network(), IMAGES, LABELS))
    with torch.autocast("cpu", dtype):
        got = saliency(network(), IMAGES, LABELS)
    assert got.dtype == torch.float32
    coarse = [functional.avg_pool2d(maps[:, None], 8) for maps in (normalised(got), want)]
    torch.testing.assert_close(*coarse, rtol=0.1, atol=1e-4)


def test_wrapped_models_are_unwrapped():
    model = network()
    want = saliency(model, IMAGES, LABELS)
    parallel = nn.DataParallel(model)
    compiled = nn.Module()  # as torch.compile() wraps it, which takes seconds
    compiled._orig_mod = parallel
    for wrapped in (parallel, compiled):
        assert torch.equal(saliency(wrapped, IMAGES, LABELS), want)


def test_processes_of_distributed_training_do_not_wait_in_the_pass():
    """The reducer is not told of it: gradients of the next step are as without."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model, plain = network().eval(), network().eval()
        parallel = nn.parallel.DistributedDataParallel(model)
        for _ in range(2):
            want = saliency(plain, IMAGES, LABELS)
            assert torch.equal(saliency(parallel, IMAGES, LABELS), want)
            for one in (parallel, plain):
                functional.cross_entropy(one(IMAGES), LABELS).backward()
            for got, grad in zip(model.parameters(), plain.parameters(), strict=True):
                torch.testing.assert_close(got.grad, grad.grad)
    finally:
        dist.destroy_process_group()


def test_another_loss_and_soft_labels():
    rows = functional.one_hot(LABELS, CLASSES).float()
    want = saliency(network(), IMAGES, LABELS)
    got = saliency(network(), IMAGES, rows, loss=lambda x, y: -(y * x.log_softmax(1)).sum(1))
    torch.testing.assert_close(normalised(got), normalised(want), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    "images, how, error, text",
    [
        (IMAGES.byte(), {}, TypeError, "images: expected a tensor of floats, .* got torch.uint8"),
        (IMAGES.numpy(), {}, TypeError, "images: expected a tensor of floats, .* got ndarray"),
        (IMAGES[0], {}, ValueError, r"images: expected shape \(B, C, H, W\), got \(3, 32, 32\)"),
        (IMAGES, {"loss": lambda x, y: x.detach().sum()}, ValueError, "loss: expected one that"),
    ],
)
def test_saliency_refuses(images, how, error, text):
    with pytest.raises(error, match=text):
        saliency(network(), images, LABELS, **how)


# ------------------------------------------------------------------------------------------- step


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", [torch.contiguous_format, LAST], ids=["planes", "channels last"])
def test_batches_are_those_of_the_plan(order, channels):
    images = IMAGES[:, :channels].contiguous().to(memory_format=order)
    mix = PuzzleMix(CLASSES, settings=SETTINGS, seed=4, rank=2)
    counts = set()
    for step in range(8):
        mixed, rows = mix(images, LABELS, MAPS)
        plan = msda.draw(msda.Mixup(), BATCH, 32, 32, seed=4, step=step, rank=2)
        hwc = images.permute(0, 2, 3, 1).contiguous().numpy()
        for blocks in mix.blocks:
            found = puzzle.solve(hwc, MAPS.numpy(), plan, blocks=blocks, settings=SETTINGS)
            want = puzzle.blend(hwc, found)
            if np.array_equal(mixed.permute(0, 2, 3, 1), want):
                counts.add(blocks)
                break
        else:
            raise AssertionError(step)
        assert mixed.is_contiguous(memory_format=order)
        targets = msda.targets(LABELS.numpy(), found.plan, num_classes=CLASSES)
        np.testing.assert_array_equal(rows, targets)
        np.testing.assert_allclose(found.mask(32, 32).mean((1, 2)), found.plan["weight"], atol=1e-6)
    assert mix.step == 8 and len(counts) > 2


def test_draws_depend_on_seed_rank_and_step_and_state_comes_back():
    def run(mix, steps=3):
        return torch.cat([mix(IMAGES, LABELS, MAPS)[1] for _ in range(steps)])

    first = run(PuzzleMix(CLASSES))
    assert torch.equal(first, run(PuzzleMix(CLASSES, seed=0, rank=0)))
    for other in (PuzzleMix(CLASSES, seed=1), PuzzleMix(CLASSES, rank=1)):
        assert not torch.equal(first, run(other))
    mix, restored = PuzzleMix(CLASSES), PuzzleMix(CLASSES)
    run(mix, 2)
    restored.load_state_dict(mix.state_dict())
    assert restored.step == 2
    assert torch.equal(run(restored, 1), first[-BATCH:])
    assert torch.equal(PuzzleMix(CLASSES)(IMAGES, LABELS, MAPS, step=2)[1], first[-BATCH:])
    with pytest.raises(ValueError, match="puzzle state: expected seed 7, as in this run, got 0"):
        PuzzleMix(CLASSES, seed=7).load_state_dict(mix.state_dict())


def test_a_saved_plan_does_it_again(tmp_path):
    mix, other = (PuzzleMix(CLASSES, settings=SETTINGS, k=2, seed=seed) for seed in (4, 5))
    mixed, rows = mix(IMAGES, LABELS, MAPS)
    msda.save(tmp_path / "plan.npy", mix.solution.plan)
    again = other(IMAGES, LABELS, MAPS, plan=msda.load(tmp_path / "plan.npy"))
    assert torch.equal(again[0], mixed) and torch.equal(again[1], rows)
    assert (mix.step, other.step) == (1, 0)
    np.testing.assert_array_equal(
        mix.solution.plan["partner"],
        msda.draw(mix.policy, BATCH, 32, 32, seed=4, step=0)["partner"],
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda policy: Mixer(policy, CLASSES),
        lambda policy: Collate(policy, CLASSES),
        lambda policy: ManifoldMixup(None, ["0"], policy, CLASSES),
    ],
    ids=["Mixer", "Collate", "ManifoldMixup"],
)
def test_who_knows_no_gradients_refuses_the_policy(make):
    with pytest.raises(ValueError, match=r"policy: .* got MultiMix\(policy=PuzzleMix.*torch.Puzzl"):
        make(msda.MultiMix(msda.PuzzleMix()))


def test_interpolations_follow_one_another_and_are_nested():
    mix = PuzzleMix(CLASSES, k=3, blocks=(8,), settings=SETTINGS, compact=True)
    mixed, labels, weights = mix(IMAGES, LABELS, MAPS)
    assert mixed.shape == (3 * BATCH, 3, 32, 32) and labels.shape == weights.shape
    own = weights[:, 0].reshape(BATCH, 3)
    assert (own.diff(dim=1) <= 0).all() and (own.diff(dim=1) < 0).any()
    assert torch.equal(labels[::3, 0], LABELS)


def test_a_prior_leaves_the_label_to_the_drawn_lambda():
    """As in LaMix over Puzzle Mix; the images are those of that lambda."""
    how = dict(blocks=(8,), settings=SETTINGS, compact=True, seed=2)
    mixed, labels, weights = PuzzleMix(CLASSES, prior_lam=0.5, **how)(IMAGES, LABELS, MAPS)
    plan = msda.draw(msda.Mixup(), BATCH, 32, 32, seed=2, step=0)
    np.testing.assert_array_equal(weights[:, 0], plan["lam"])
    np.testing.assert_array_equal(labels[:, 1], LABELS[plan["partner"]])
    plan["lam"] = 0.5
    hwc = IMAGES.permute(0, 2, 3, 1).contiguous().numpy()
    found = puzzle.solve(hwc, MAPS.numpy(), plan, blocks=8, settings=SETTINGS)
    np.testing.assert_array_equal(mixed.permute(0, 2, 3, 1), puzzle.blend(hwc, found))
    assert not np.allclose(found.plan["weight"], weights[:, 0], atol=0.05)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16])
def test_types_come_back(dtype):
    images = (IMAGES * 255).to(dtype) if dtype == torch.uint8 else IMAGES.to(dtype)
    mix = PuzzleMix(CLASSES, blocks=(4,))
    mixed, rows = mix(images, LABELS, MAPS.to(torch.float16).float())
    assert mixed.dtype == dtype and rows.shape == (BATCH, CLASSES)
    floats, _ = PuzzleMix(CLASSES, blocks=(4,))(images.float(), LABELS, MAPS.half().float())
    if dtype != torch.uint8:
        assert torch.equal(mixed, floats.to(dtype))


def test_normalised_images_have_the_same_masks():
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    images = (IMAGES - mean[:, None, None]) / std[:, None, None]
    plain = PuzzleMix(CLASSES, blocks=(8,), compact=True)(IMAGES, LABELS, MAPS)
    mix = PuzzleMix(CLASSES, blocks=(8,), mean=mean.tolist(), std=std.tolist(), compact=True)
    mixed, labels, weights = mix(images, LABELS, MAPS)
    torch.testing.assert_close(mixed * std[:, None, None] + mean[:, None, None], plain[0])
    assert torch.equal(labels, plain[1]) and torch.equal(weights, plain[2])


def test_unusable_maps_are_counted_and_warned_of_once():
    mix = PuzzleMix(CLASSES)
    maps = MAPS.clone()
    maps[1], maps[3, 4, 5] = 0, torch.nan
    with pytest.warns(RuntimeWarning, match="saliency: expected finite maps .* got 2 of 6 others"):
        mix(IMAGES, LABELS, maps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mix(IMAGES, LABELS, maps)
        mix(IMAGES, LABELS, MAPS)
    assert mix.uniform_maps == 4


def test_a_step_trains():
    """The released recipe in small: saliency, mix, loss; the loss falls."""
    model = network().train()
    mix = PuzzleMix(CLASSES, settings=SETTINGS, scope="batch")
    losses = []
    for _ in range(30):
        mixed, rows = mix(IMAGES, LABELS, saliency(model, IMAGES, LABELS))
        loss = functional.cross_entropy(model(mixed), rows)
        gradients = torch.autograd.grad(loss, tuple(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.1 * gradient
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


@pytest.mark.parametrize(
    "how, error, text",
    [
        (dict(blocks=(1, 2)), ValueError, "blocks: expected 2 to 16 along each side"),
        (dict(blocks=4), TypeError, r"blocks: expected numbers such as \(2, 4, 8, 16\), got 4"),
        (dict(blocks=()), TypeError, "blocks: expected numbers such as"),
        (dict(n=3), TypeError, "unexpected keyword argument 'n'"),
        (dict(alpha=0), ValueError, "alpha: expected"),
        (dict(settings={}), TypeError, "settings: expected PuzzleSettings, got {}"),
        (dict(settings=msda.PuzzleMix()), TypeError, "settings: expected PuzzleSettings, got Puzz"),
        (dict(k=1), ValueError, "k: expected 2 to 64 interpolations"),
        (dict(smoothing=2), ValueError, "smoothing: expected"),
        (dict(prior_lam=1.5), ValueError, r"prior_lam: expected a number in \[0, 1\]"),
    ],
)
def test_settings_that_are_refused(how, error, text):
    with pytest.raises(error, match=text):
        PuzzleMix(CLASSES, **how)


@pytest.mark.parametrize(
    "how, error, text",
    [
        (dict(places=1), ValueError, "places: expected 2 to 16 parts"),
        (dict(cell=0), ValueError, "cell: expected 1 to 64 pixels"),
        (dict(levels=5), ValueError, "levels: expected 2, 3 or 4"),
        (dict(beta=9), ValueError, "beta: expected a number in"),
        (dict(gamma=-1), ValueError, "gamma: expected a share in"),
        (dict(eta="a"), TypeError, "eta: expected a number in"),
        (dict(move_cost=17), ValueError, "move_cost: expected a number in"),
        (dict(transport=1), TypeError, "transport: expected True or False, got 1"),
    ],
)
def test_puzzle_settings_that_are_refused(how, error, text):
    with pytest.raises(error, match=text):
        puzzle.PuzzleSettings(**how)


@pytest.mark.parametrize(
    "images, maps, how, error, text",
    [
        (IMAGES[..., :31], MAPS[..., :31], {}, ValueError, "images: expected sides that are multi"),
        (IMAGES, MAPS[:2], {}, ValueError, r"saliency: expected shape \(6, 32, 32\)"),
        (IMAGES, MAPS.int(), {}, TypeError, "saliency: expected a tensor of floats, got torch.int"),
        (IMAGES, MAPS.numpy(), {}, TypeError, "saliency: expected a tensor of floats, got ndarray"),
        (IMAGES.double(), MAPS, {}, TypeError, "images: expected uint8, float32"),
        (IMAGES.byte(), MAPS, {"std": 0.5}, ValueError, "mean, std: expected none with uint8"),
        # Any other device stands for a GPU here.
        (
            IMAGES.to("meta"),
            MAPS.to("meta"),
            {},
            ValueError,
            "images: .* CPU memory, got one on meta",
        ),
    ],
)
def test_batches_that_are_refused(images, maps, how, error, text):
    with pytest.raises(error, match=text):
        PuzzleMix(CLASSES, **how)(images, LABELS.to(images.device), maps)


def test_every_number_of_blocks_must_fit_before_one_is_drawn():
    """Blocks of 14 pixels cannot be compared in cells of 4, whichever number comes first."""
    images, maps = torch.zeros(2, 3, 224, 224), torch.ones(2, 224, 224)
    text = "cell: expected a size that divides the blocks' 14 x 14 pixels, got 4"
    for step in range(4):
        with pytest.raises(ValueError, match=text):
            PuzzleMix(CLASSES)(images, LABELS[:2], maps, step=step)
    PuzzleMix(CLASSES, settings=puzzle.PuzzleSettings(cell=2))(images, LABELS[:2], maps)


def test_empty_batches_and_partners_as_mixup_draws_them():
    mixed, rows = PuzzleMix(CLASSES)(IMAGES[:0], LABELS[:0], MAPS[:0])
    assert mixed.shape == (0, 3, 32, 32) and rows.shape == (0, CLASSES)
    labels = PuzzleMix(CLASSES, seed=3, compact=True)(IMAGES, LABELS, MAPS)[1]
    drawn = Mixer(msda.Mixup(), CLASSES, seed=3, compact=True)(IMAGES, LABELS)[1]
    assert torch.equal(labels, drawn)
