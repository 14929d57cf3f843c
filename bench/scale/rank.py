"""A process of several that train together: a line of input is an epoch, and one of output its end.

python -m bench.scale.rank '{"loader": "dali", "folder": "...", ...}'
"""

import importlib
import json
import sys
import time

import torch
import torch.distributed as dist

import dali_msda as msda
from dali_msda.pipelines.data import datasets

PAUSE = 0.02  # seconds in which a process that has nothing to do does nothing


def main() -> None:
    """Do what the one argument says."""
    order = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    rank, ranks = order["rank"], order["ranks"]
    dist.init_process_group("gloo", order["meeting"], rank=rank, world_size=ranks)
    loaders = importlib.import_module(f"dali_msda.pipelines.loaders.{order['loader']}")
    source = datasets.find(order["folder"])
    loader = loaders.TrainingLoader(
        source,
        batch_size=order["batch"],
        size=order["size"],
        threads=order["threads"],
        policy=msda.CutMix(),
        shard_id=rank,
        num_shards=ranks,
    )
    step = stepper(len(source.classes))
    for _ in sys.stdin:
        seen = torch.zeros(len(source.classes), dtype=torch.int64)
        for images, labels, weights in loader:
            step(images, labels, weights)
            seen += torch.bincount(labels[:, 0], minlength=len(seen))
        settle()
        print(json.dumps({"seen": seen.tolist()}), flush=True)
    loader.close()
    dist.destroy_process_group()


def stepper(classes: int):
    """What takes a step of a network that is small beside its loader."""
    from dali_msda.torch import soft_target_cross_entropy

    network = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(192, classes)
    )
    network = torch.nn.parallel.DistributedDataParallel(network)
    optimizer = torch.optim.SGD(network.parameters(), 0.01)

    def step(images: torch.Tensor, *targets: torch.Tensor) -> None:
        loss = soft_target_cross_entropy(network(images), *targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def settle() -> None:
    """Wait until this process has prepared all that it prepares ahead."""
    worked = PAUSE
    while worked > PAUSE / 20:
        before = time.process_time()
        time.sleep(PAUSE)
        worked = time.process_time() - before


if __name__ == "__main__":
    main()
