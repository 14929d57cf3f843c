"""Training steps on real JPEGs, and the share of them that is spent waiting for the loader.

The network, the optimiser step and the loader are those of the training program. Steps with mixing
and without take turns. The loader's threads and the network's share the cores here. ``wait`` is the
time that the loop stood still for a batch, as a share of the whole.

On a GPU steps are as a training run makes them there: in bfloat16 by autocast, channels last,
without waiting for one another. A turn is ``STEPS`` of them and ends when the device is done.
``wait`` is then the device's idle time: from the end of a step's work until the next batch is
there, measured between events of the device, as a share of all time between events. It is 0 where
the loader keeps ahead, however long Python waits.
"""

from collections.abc import Callable, Iterable, Iterator

from bench import gpu_timing
from bench.cases import Job
from bench.memory import Host
from bench.peers.on_torch import torch_for
from bench.suites.blend import POLICIES
from bench.suites.loaders import on_gpu, photographs, with_without

ISOLATED = True
COMMON = {"model": "resnet18", "batch": 16, "size": 64, "dtype": "float32", "threads": 0}
CUDA = {"device": "cuda", "batch": 256, "size": 224, "dtype": "float16", "threads": 0}
NETWORKS = ("resnet50", "resnet101")
TABLES = {
    "quick": [],
    "default": [
        {"policy": "cutmix", **COMMON},
        {"policy": ("cutmix", "fmix"), "loader": "dali", "model": NETWORKS, **CUDA},
    ],
    "all": [
        {"policy": ("cutmix", "fmix"), **COMMON, "size": (64, 224)},
        {"policy": ("cutmix", "fmix"), "loader": with_without.LOADERS, "model": NETWORKS, **CUDA},
    ],
}
STEPS = {"cpu": 1, "cuda": 8}  # of a turn


def prepare(case: dict[str, object]) -> Job:
    """Some steps with mixing and without."""
    torch, device = torch_for(case), case["device"]
    policies = {"mixing": POLICIES[case["policy"]], "without": None}
    if device == "cuda":
        spot = gpu_timing.of_torch("the training steps")
        source = with_without.source_on_gpu(case)
        opened = on_gpu.opened(source, spot, case, channels_last=True)
        batches = {name: endless(opened(policy)) for name, policy in policies.items()}
    else:
        spot, source = Host(), photographs.of_the_demo()
        batches = {name: with_without.loader(source, case, each) for name, each in policies.items()}
    marks = {name: [] for name in policies}
    runs = {}
    for name, each in batches.items():
        step = stepper(torch, each, case, spot, marks[name])
        runs[name] = lambda step=step: [step() for _ in range(STEPS[device])]

    def figures(medians: dict[str, float]) -> dict[str, float]:
        shares = {name: waited(spot, made[STEPS[device] :]) for name, made in marks.items()}
        return {f"wait_{name}": round(share, 4) for name, share in shares.items()}

    how = {"threads": 0, "clock": "wall", "loops": False, "whole": True}
    return Job(runs, None, STEPS[device] * case["batch"], "images", figures=figures, **how)


def endless(epoch: Iterable) -> Iterator:
    """Epoch after epoch."""
    while True:
        yield from epoch


def waited(spot: object, marks: list[tuple]) -> float:
    """The share of the first of the two intervals between the three marks of each step."""
    first = sum(spot.seconds(start, got) for start, got, _ in marks)
    return first / sum(spot.seconds(start, end) for start, _, end in marks)


def stepper(
    torch: object, batches: Iterator, case: dict[str, object], spot: object, marks: list[tuple]
) -> Callable[[], None]:
    """What takes one step, and marks its start, when its batch was there, and its end."""
    from dali_msda.pipelines.training.models import make_model
    from dali_msda.torch import soft_target_cross_entropy

    on_gpu, channels_last = case["device"] == "cuda", torch.channels_last
    model = make_model(case["model"], 16).to(spot.device, memory_format=channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True)

    def step() -> None:
        start = spot.mark()
        images, *targets = next(batches)
        got = spot.mark()
        with torch.autocast(spot.device, torch.bfloat16, enabled=on_gpu):
            logits = model(images.to(memory_format=channels_last))
        loss = soft_target_cross_entropy(logits, *targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        marks.append((start, got, spot.mark()))

    return step
