"""Methods that mix in the training step: a run that is killed goes on with them, bit by bit."""

import copy
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys

import pytest
import torch

from dali_msda import torch as torch_msda
from dali_msda.pipelines import train
from dali_msda.pipelines.training.models import RegionHead, make_model
from dali_msda.pipelines.training.step_methods import PuzzleMix
from dali_msda.puzzle import PuzzleSettings
from tests.support.coloured_folders import write_folder
from tests.support.limits import one_thread_of_torch  # noqa: F401
from tests.training.training_runs import SECONDS, assert_same

POLICIES = {
    "manifold": "{manifoldmixup: {multimix: mixup, k: 2}, layers: ['', layer1, layer2]}",
    "recursivemix": "{recursivemix: {alpha: 0.5, omega: 0.5}}",
    "puzzlemix": "{puzzlemix: {k: 2, places: 8, prior_lam: 0.5, every: 2}}",
    "comixup": "{comixup: {part: 3, clean_weight: 0.5}}",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_folder(root / "train", (6,) * 4)
    return root


def flags(data, out, name, **more):
    settings = dict(
        data=data, out=out, model="resnet18", size=32, val_resize=32, batch_size=8, epochs=2,
        val="none", warmup_epochs=0, lr=0.005, policy=POLICIES[name], threads=1, device="cpu",
        loader="torch", checkpoint_every=5,
    )  # fmt: skip
    flat = [(f"--{k.replace('_', '-')}", str(v)) for k, v in (settings | more).items()]
    return [text for pair in flat for text in pair]


def exit_code_of_killed(arguments, step):
    """Of a run in a process of its own, which kills itself with SIGKILL before that step."""

    def run():
        rate, calls = train.learning_rate, itertools.count(1)

        def killing(*given):
            if next(calls) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return rate(*given)

        train.learning_rate = killing
        train.main(arguments)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(SECONDS)
    return process.exitcode


@pytest.mark.parametrize(
    "name, criterion",
    [
        ("manifold", "softmax_bce"),
        ("recursivemix", "cross_entropy"),
        ("puzzlemix", "softmax_bce"),
        ("comixup", "softmax_bce"),
    ],
)
def test_a_killed_run_goes_on_bit_by_bit(data, tmp_path, name, criterion):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train.main(flags(data, whole, name, criterion=criterion)) == 0
    expected = torch.load(whole / "checkpoint.pt", weights_only=True)
    arguments = flags(data, parts, name, criterion=criterion)
    assert exit_code_of_killed(arguments, step=6) == -signal.SIGKILL  # the second epoch's last
    kept = torch.load(parts / "checkpoint.pt", weights_only=True)
    assert kept["step"] == 5
    if name == "recursivemix":  # the batch before is kept in mid-epoch only
        states = (state["ranks"][0]["mixed"] for state in (kept, expected))
        assert [state["images"] is None for state in states] == [False, True]
    assert train.main([*arguments, "--resume", "auto"]) == 0
    again = torch.load(parts / "checkpoint.pt", weights_only=True)
    assert again["step"] == 6
    assert_same(again, expected)
    rows = [(out / "metrics.csv").read_text().splitlines() for out in (whole, parts)]
    assert [line.split(",")[:3] for line in rows[0]] == [line.split(",")[:3] for line in rows[1]]
    assert ("region_head.weight" in again["model"]) == (name == "recursivemix")


def test_a_head_for_regions_serves_training_only():
    model = make_model("resnet18", 5)
    seen = []
    head = RegionHead(model, "layer4", 5, lambda maps: seen.append(maps) or maps.mean((2, 3)))
    images = torch.rand(2, 3, 32, 32)
    both = model.train()(images)
    assert both.shape == (2, 10)
    assert torch.equal(both[:, 5:], head(seen[0].mean((2, 3))))
    assert model.eval()(images).shape == (2, 5) and len(seen) == 1
    with pytest.raises(ValueError, match="layer: expected one such as conv1, .* got 'layer9'"):
        RegionHead(make_model("resnet18", 5), "layer9", 5, None)
    with pytest.raises(ValueError, match="layer: expected one that gives a map"):
        RegionHead(make_model("resnet18", 5), "fc", 5, None)


# Two processes, each with its own draws, whose parameters are all used in every step.
SCRIPT = """
import sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
import dali_msda as msda
from dali_msda.pipelines.training.models import RegionHead
from dali_msda.pipelines.training.step_methods import PuzzleMix as PuzzlePolicy
from dali_msda.torch import AlignMix, CoMixup, ManifoldMixup, PuzzleMix, RecursiveMix, saliency
from dali_msda.torch import softmax_binary_cross_entropy
folder, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
plans = []
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 3)
        self.head = torch.nn.Linear(8, 4)
    def forward(self, x):
        return self.head(self.b(self.a(x)).mean((2, 3)))
def train(model, step):
    parallel = DistributedDataParallel(model, find_unused_parameters=False)
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.1)
    for number in range(3):
        torch.manual_seed(10 * number + rank)
        images, labels = torch.rand(4, 3, 16, 16), torch.randint(4, (4,))
        optimizer.zero_grad()
        step(parallel, images, labels).backward()
        assert all(p.grad is not None for p in parallel.parameters())
        optimizer.step()
    mine = torch.cat([p.detach().flatten() for p in model.parameters()])
    others = [torch.empty_like(mine) for _ in range(2)]
    dist.all_gather(others, mine)
    assert torch.equal(*others) and mine.isfinite().all()
for kind, policy in ((ManifoldMixup, msda.MultiMix(msda.Mixup(), k=2)), (AlignMix, None)):
    model = Net()
    mix = kind(model, ["", "a", "b"], policy, 4, seed=3)
    def hidden(model, images, labels):
        with mix(labels) as targets:
            logits = model(images)
        plans.append(mix.plan)
        return softmax_binary_cross_entropy(logits, targets)
    train(model, hidden)
mix, model = RecursiveMix(4, seed=3), Net()
RegionHead(model, "b", 4, mix.regions)
def recursive(model, images, labels):
    images, targets = mix(images, labels)
    logits = model(images)
    plans.append(mix.plan)
    return mix.loss(logits[:, :4], logits[:, 4:], targets)
train(model, recursive)
mix = PuzzleMix(4, k=2, seed=3)
def puzzled(model, images, labels):
    for p in model.parameters():
        p.grad = torch.full_like(p, 7.0)
    maps = saliency(model, images, labels)
    assert all((p.grad == 7).all() and p.requires_grad for p in model.parameters())
    model.zero_grad()
    images, targets = mix(images, labels, maps)
    plans.append(mix.solution.plan)
    return softmax_binary_cross_entropy(model(images), targets)
train(Net(), puzzled)
clean = PuzzlePolicy(blocks=(2,), clean_weight=0.5).start(None, 4, seed=3, rank=rank, compact=False)
def both(model, images, labels):
    logits, targets = clean.forward(model, images, [labels])
    plans.append(clean.mixer.solution.plan)
    mixed = lambda logits, targets: softmax_binary_cross_entropy(logits, *targets)
    return clean.loss(mixed, logits, targets)
train(Net(), both)
together = CoMixup(4, blocks=(2,), seed=3)
def shared(model, images, labels):
    images, targets = together(images, labels, saliency(model, images, labels))
    plans.append({"lam": together.solution.sources})
    return softmax_binary_cross_entropy(model(images), targets)
train(Net(), shared)
torch.save([torch.from_numpy(plan["lam"].copy()) for plan in plans], f"{folder}/{rank}.pt")
"""


def test_two_processes_use_every_parameter_and_draw_their_own(tmp_path):
    (tmp_path / "two.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "two.py"), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    both = [subprocess.Popen([*command, str(rank)], env=environment, stderr=subprocess.PIPE)
            for rank in range(2)]  # fmt: skip
    for process in both:
        error = process.communicate(timeout=300)[1]
        assert process.returncode == 0, error.decode()
    ours, theirs = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert len(ours) == 18
    for number, (mine, yours) in enumerate(zip(ours, theirs, strict=True)):
        assert torch.equal(mine, yours) == (number == 6)  # RecursiveMix's first batch is plain


def test_puzzlemix_mixes_by_the_saliency_of_the_images_as_they_are():
    """As a step by hand does, of every other batch where the policy says so."""
    torch.manual_seed(0)
    model, images = make_model("resnet18", 5).train(), torch.randn(4, 3, 32, 32)
    labels, seen = torch.arange(4), []
    normal = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    settings = PuzzleSettings(places=8, gamma=0.9, cell=2)
    by_hand = torch_msda.PuzzleMix(5, alpha=0.5, settings=settings, seed=3, rank=1, **normal)
    policy = PuzzleMix(alpha=0.5, places=8, gamma=0.9, cell=2, every=2)
    mixed = policy.start(model, 5, seed=3, rank=1, compact=False)
    model.register_forward_pre_hook(lambda model, inputs: seen.append((model.training, *inputs)))
    for number in range(4):
        before = copy.deepcopy(model)
        seen.clear()
        logits, targets = mixed.forward(model, images, [labels])
        assert logits.shape == (4, 5) and model.bn1.num_batches_tracked == number + 1
        if number % 2 == 0:
            assert seen == [(True, images)] and targets == [labels]
            continue
        (training, clean), (mixing, found) = seen
        assert (training, mixing) == (False, True) and torch.equal(clean, images)
        maps = torch_msda.saliency(before, images, labels)
        expected, rows = by_hand(images, labels, maps)
        assert torch.equal(found, expected) and torch.equal(targets[0], rows)


def test_puzzlemix_adds_the_loss_of_the_images_as_they_are():
    """One backward pass gives the gradients of both losses; batch statistics see both batches."""
    torch.manual_seed(0)
    model, images = make_model("resnet18", 5).train(), torch.randn(4, 3, 32, 32)
    labels, cross_entropy = torch.arange(4), torch.nn.functional.cross_entropy
    before = copy.deepcopy(model)
    mixed = PuzzleMix(blocks=(4,), clean_weight=0.25).start(model, 5, seed=3, rank=0, compact=False)
    logits, rows = mixed.forward(model, images, [labels])
    mixed.loss(lambda logits, rows: cross_entropy(logits, *rows), logits, rows).backward()
    assert model.bn1.num_batches_tracked == 2
    maps = torch_msda.saliency(copy.deepcopy(before), images, labels, train=True)
    normal = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    pixels, by_hand = torch_msda.PuzzleMix(5, blocks=(4,), seed=3, **normal)(images, labels, maps)
    loss = 0.25 * cross_entropy(before(images), labels) + cross_entropy(before(pixels), by_hand)
    loss.backward()
    assert torch.equal(rows[0], by_hand)
    for ours, theirs in zip(model.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)
    second = mixed.loss(lambda logits, rows: cross_entropy(logits, *rows), logits, rows)
    assert torch.equal(second, cross_entropy(logits, rows[0]))  # the clean loss counts once
