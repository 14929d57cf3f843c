"""Puzzle Mix: masks, transport, the whole step after the gradient, and its share of training.

``masks`` are the cuts alone, of costs that are made beforehand, and beside them the transport
alone, by masks that are there; ``with costs`` is all that leads to the masks. ``step`` is all that
follows the saliency: costs, masks, transport and the mixed images. ``training`` is a step of a
network that mixes so, beside the pass for the saliency alone, the mixing alone, and a step of the
same network that does not mix.

With ``beside=released`` the authors' code (github.com/snu-mllab/PuzzleMix) runs as it is, in one
process, on PyTorch's CPU: ``--puzzlemix-repo`` names a checkout, and ``pip install gco-wrapper``
its solver. Two things are checked first: the authors' code, given our masks, makes our images; and
by its own costs no mask of ours costs more than the one that it finds. Its masks and its transport
are timed as ours are: of costs, and of masks, that are there.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from types import ModuleType

import numpy as np

import dali_msda as msda
from bench.cases import Job, Mismatch
from bench.memory import memory_of, pixels
from bench.models.puzzle_parts import Parts
from bench.peers import released
from bench.peers.on_torch import torch_for
from dali_msda import puzzle
from dali_msda.backends.puzzle import cpu_puzzle

ISOLATED = True  # one core, whatever torch may start
CUDA = {"device": "cuda", "what": "step", "batch": 256, "threads": 0}
BLOCKS, BESIDE = (2, 4, 8, 16), ("nothing", "released")
ONE = {"threads": 1}
TABLES = {
    "quick": [{"what": "step", "blocks": 4, "size": 32, "batch": 100, "beside": BESIDE, **ONE}],
    "default": [
        {"what": "step", "blocks": BLOCKS, "size": 32, "batch": 100, "beside": BESIDE, **ONE},
        {"what": "masks", "blocks": BLOCKS, "batch": 256, "beside": BESIDE, **ONE},
        {"what": "training", "model": "resnet18", "size": 32, "batch": 100, **ONE},
        {"blocks": BLOCKS, "size": 224, "dtype": ("uint8", "float32"), **CUDA},
        {"blocks": BLOCKS, "size": 32, "dtype": "float32", **CUDA},
    ],
    "all": [{"what": "step", "blocks": BLOCKS, "size": 128, "batch": 16, "beside": BESIDE, **ONE}],
}
SMALL = 32  # pixels, for which the released settings have parts of 4 pixels that move
LAM, LEVELS, BETA, GAMMA, ETA, MOVE_COST, CELL = 0.4, 3, 1.2, 0.5, 0.2, 0.8, 4


def prepare(case: dict[str, object]) -> Job:
    """What the case names, and the released code beside it where it says so."""
    if case["device"] == "cuda":
        return on_gpu(case)
    torch = torch_for(case)
    return training(torch, case) if case["what"] == "training" else mixing(torch, case)


class Batch:
    """Random images with blobs of saliency, a plan, and the settings of both sides."""

    def __init__(self, torch: ModuleType, case: dict[str, object]):
        self.blocks = case["blocks"]
        size, batch = case.get("size", 2 * self.blocks), case["batch"]
        rng = np.random.default_rng(0)
        self.images = torch.from_numpy(rng.random((batch, 3, size, size), np.float32))
        blobs = np.exp(rng.standard_normal((batch, 16, 16)))
        at = np.arange(size) * 16 // size
        self.maps = torch.from_numpy(blobs[:, at][:, :, at].astype(np.float32))
        self.maps *= 0.5 + torch.rand(self.maps.shape)
        self.plan = msda.draw(msda.Mixup(), batch, size, size, seed=0, step=0, lam=LAM)
        self.small, self.threads = size == SMALL, case["threads"]

    def settings(self, transport: bool = True) -> puzzle.PuzzleSettings:
        """Those of the released code for CIFAR-100."""
        how = dict(places=8 if self.small else 2, cell=CELL, levels=LEVELS, transport=transport)
        how |= dict(beta=BETA, gamma=GAMMA, eta=ETA, move_cost=MOVE_COST)
        return puzzle.PuzzleSettings(**how)

    def solve(self) -> puzzle.Solution:
        """Masks, and what moves."""
        how = dict(blocks=self.blocks, settings=self.settings(), threads=self.threads)
        return puzzle.solve(self.images.permute(0, 2, 3, 1), self.maps, self.plan, **how)

    def kernels(self, transport: bool) -> ctypes.Structure:
        """The arguments of what finds the masks, of arrays that have been checked."""
        pixels = np.ascontiguousarray(self.images.permute(0, 2, 3, 1).numpy())
        how = self.settings(transport).arguments(self.blocks)
        return cpu_puzzle.arguments(
            self.plan, pixels, self.maps.numpy(), threads=self.threads, **how
        )

    def mixed(self) -> object:
        """The step after the gradient."""
        pixels = self.images.permute(0, 2, 3, 1)
        return puzzle.blend(pixels, self.solve(), threads=self.threads)

    def released(self, code: ModuleType) -> tuple:
        """The same by the authors' code: images and own weights."""
        how = dict(block_num=self.blocks, alpha=LAM, beta=BETA, gamma=GAMMA, eta=ETA)
        how |= dict(neigh_size=CELL, n_labels=LEVELS, mean=0.0, std=1.0, transport=True)
        how |= dict(t_eps=MOVE_COST, t_size=4 if self.small else -1, device="cpu")
        return code.mixup_graph(self.images, self.maps, self.plan["partner"].astype(int), **how)


def mixing(torch: ModuleType, case: dict[str, object]) -> Job:
    """Masks and transport, or the whole step."""
    batch, count, step = Batch(torch, case), case["batch"], case["what"] == "step"
    runs: dict[str, Callable] = {"step": batch.mixed}
    if not step:
        parts, given = Parts(batch.kernels(transport=True)), batch.kernels(transport=False)
        runs = {"masks": parts.masks, "transport": parts.transport}
        runs["with costs"] = lambda: cpu_puzzle.solve(given)
    if case["beside"] == "released":
        code = released.load("mixup", "graphcut_multi", "--puzzlemix-repo")
        asked = check(torch, batch, code)
        if step:
            runs["released"] = lambda: batch.released(code)
        else:
            runs["released masks"] = lambda: [code.graphcut_multi(*costs) for costs in asked]
            runs["released transport"] = transports(torch, batch, code)

    def figures(medians: dict[str, float]) -> dict[str, float]:
        if step:
            return {}
        found = {"transport_us": round(medians["transport"] / count * 1e6, 3)}
        if theirs := medians.get("released transport"):
            found["released_transport_us"] = round(theirs / count * 1e6, 1)
            found["transport_times"] = round(theirs / medians["transport"], 1)
            found["masks_times"] = round(medians["released masks"] / medians["masks"], 1)
        return found

    return Job(runs, None, count, "images" if step else "masks", threads=1, figures=figures)


def on_gpu(case: dict[str, object]) -> Job:
    """The step after the gradient, and the masks alone; images are read twice and written once."""
    memory, batch, size = memory_of("cuda"), case["batch"], case["size"]
    rng = np.random.default_rng(0)
    images = pixels(batch, size, size, 3, dtype=case["dtype"])
    images = memory.put(images if images.dtype == np.uint8 else images / np.float32(255))
    maps = memory.put(np.exp(rng.standard_normal((batch, size, size))).astype(np.float32))
    plan = msda.draw(msda.Mixup(), batch, size, size, seed=0, step=0, lam=LAM)
    how = dict(cell=CELL if size == SMALL else 2, places=8 if size == SMALL else 2)
    how = dict(blocks=case["blocks"], settings=puzzle.PuzzleSettings(**how))

    def masks() -> puzzle.Solution:
        return puzzle.solve(images, maps, plan, **how)

    runs = {"step": lambda: puzzle.blend(images, masks()), "masks": masks}
    moved = batch * size * size * (3 * 3 * np.dtype(case["dtype"]).itemsize + 4)
    return Job(runs, moved, batch, "images", threads=0)


def transports(torch: ModuleType, batch: Batch, code: ModuleType) -> Callable[[], object]:
    """The authors' transport of both images, given our masks."""
    own = torch.from_numpy(own_weights(batch.solve(), batch.blocks))[:, None]
    shares = torch.nn.functional.avg_pool2d(batch.maps, batch.maps.shape[1] // batch.blocks)
    shares = shares / shares.sum((1, 2), keepdim=True)
    theirs = shares[batch.plan["partner"].astype(int)]
    eps = MOVE_COST
    return lambda: (
        code.mask_transport(own, shares, eps=eps),
        code.mask_transport(1 - own, theirs, eps=eps),
    )


def own_weights(found: puzzle.Solution, blocks: int) -> np.ndarray:
    """Own weights of the blocks, float32 ``(B, blocks, blocks)``."""
    each = found.cells.shape[-2] // blocks
    weights = found.cells[:, ::each, ::each, 0].astype(np.float32)
    return weights / np.float32(found.levels - 1)


def check(torch: ModuleType, batch: Batch, code: ModuleType) -> list[tuple]:
    """Compare both sides; return what the authors' code asks its solver, sample by sample.

    Raises:
        Mismatch: If images differ where masks do not, or a mask of ours costs more than theirs.
    """
    masks, asked, solver = own_weights(batch.solve(), batch.blocks), [], code.graphcut_multi

    def answer(*costs: object) -> np.ndarray:
        asked.append(costs)
        return masks[len(asked) - 1]

    code.graphcut_multi = answer
    try:
        images, _ = batch.released(code)
    finally:
        code.graphcut_multi = solver
    apart = (images - batch.mixed()).abs().max().item()
    if apart > 1e-5:
        raise Mismatch(f"released: with our masks its images are {apart:.2g} apart from ours")
    for ours, costs in zip(masks, asked, strict=True):
        more = energy(ours, *costs) - energy(solver(*costs), *costs)
        if more > 2 * batch.blocks**2:  # what the released code cuts off as it makes integers
            raise Mismatch(f"released: its mask costs {more:.4g} units less than ours")
    return asked


def energy(
    mask: np.ndarray,
    own: np.ndarray,
    partner: np.ndarray,
    down: np.ndarray,
    right: np.ndarray,
    lam: float,
    border: float,
    eta: float,
    levels: int,
) -> float:
    """Cost of a mask, in the released code's units; the other arguments are its solver's."""
    last, cells = levels - 1, mask.size
    ways = np.array(
        [math.comb(last, t) * lam ** (last - t) * (1 - lam) ** t for t in range(levels)]
    )
    prior = -np.log(ways)[np.rint((1 - mask) * last).astype(int)] * eta / cells
    total = (mask * own + (1 - mask) * partner + prior).sum()
    total += ((down + border) * np.diff(mask, axis=0) ** 2).sum()
    total += ((right + border) * np.diff(mask, axis=1) ** 2).sum()
    return float(total * 1000 * cells)


def training(torch: ModuleType, case: dict[str, object]) -> Job:
    """A step of a network with Puzzle Mix, and its parts."""
    from dali_msda.pipelines.training.models import make_model
    from dali_msda.torch import PuzzleMix, saliency, softmax_binary_cross_entropy

    size, batch, classes = case["size"], case["batch"], 100
    torch.manual_seed(0)
    model = make_model(case["model"], classes).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True)
    images, labels = torch.rand(batch, 3, size, size), torch.arange(batch) % classes
    mix = PuzzleMix(classes, settings=puzzle.PuzzleSettings(places=8), scope="batch")
    maps, rows = saliency(model, images, labels), torch.eye(classes)[labels]

    def step(images: object, targets: object) -> None:
        loss = softmax_binary_cross_entropy(model(images), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    runs = {
        "step": lambda: step(*mix(images, labels, saliency(model, images, labels))),
        "saliency": lambda: saliency(model, images, labels),
        "mixing": lambda: mix(images, labels, maps),
        "without": lambda: step(images, rows),
    }

    def figures(medians: dict[str, float]) -> dict[str, float]:
        parts = ("saliency", "mixing")
        return {f"share_{name}": round(medians[name] / medians["step"], 4) for name in parts}

    return Job(runs, None, batch, "images", threads=1, figures=figures, loops=False)
