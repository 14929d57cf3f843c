"""Training steps on real JPEGs, and the share of them that is spent waiting for the loader.

The network, the optimiser step and the loader are those of the training program; with mixing and
without take turns. The loader's threads and the network's share the cores here. ``wait`` is the
time the loop stood still for a batch, as a share of the whole.
"""

import time

from bench import loaders
from bench.blend import POLICIES
from bench.cases import Job
from bench.peers_torch import torch_for

ISOLATED = True
COMMON = {"model": "resnet18", "batch": 16, "size": 64, "dtype": "float32", "threads": 0}
TABLES = {
    "quick": [],
    "default": [{"policy": "cutmix", **COMMON}],
    "all": [{"policy": ("cutmix", "fmix"), **COMMON, "size": (64, 224)}],
}


def prepare(case: dict[str, object]) -> Job:
    """Single steps with mixing and without."""
    torch = torch_for(case)
    source = loaders.photographs()
    waited = {name: [] for name in ("mixing", "without")}
    runs = {
        name: stepper(torch, loaders.loader(source, case, policy), case, waited[name])
        for name, policy in (("mixing", POLICIES[case["policy"]]), ("without", None))
    }

    def figures(medians: dict[str, float]) -> dict[str, float]:
        shares = {name: sum(w for w, _ in all_) / sum(t for _, t in all_)
                  for name, all_ in waited.items()}  # fmt: skip
        return {f"wait_{name}": round(share, 4) for name, share in shares.items()}

    return Job(
        runs, None, case["batch"], "images", threads=0, clock="wall", figures=figures, loops=False
    )


def stepper(torch, batches, case: dict[str, object], waited: list[tuple[float, float]]):
    """What takes one step, and notes what it waited for and what it took."""
    from torch.nn.functional import cross_entropy

    from dali_msda.pipelines.models import make_model
    from dali_msda.torch import soft_target_cross_entropy

    model = make_model(case["model"], 16).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True)

    def step() -> None:
        start = time.perf_counter()
        images, *targets = next(batches)
        got = time.perf_counter()
        logits = model(images.to(memory_format=torch.channels_last))
        mixed = len(targets) > 1
        loss = soft_target_cross_entropy(logits, *targets) if mixed else cross_entropy(
            logits, targets[0]
        )  # fmt: skip
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        waited.append((got - start, time.perf_counter() - start))

    return step
