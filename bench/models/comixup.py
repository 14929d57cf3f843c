"""Co-Mixup: what it needs of saliency maps, the search for outputs, and the whole step.

``costs`` measures the maps: shares of blocks, and peaks. ``solve`` finds the outputs, of measures
that are there, with as many starts as the case says. ``step`` is all that follows the saliency:
both, the mixed images and the targets. Batches are of 100 images in 5 parts.

With ``beside=released`` the authors' code (github.com/snu-mllab/Co-Mixup) runs as it is, in one
process, on PyTorch's CPU: ``--comixup-repo`` names a checkout, and ``pip install gco-wrapper`` its
solver. Two things are checked first: the authors' code, given our outputs, makes our images and
targets; and by its own objective our outputs cost what we say. The figures tell how low both come
on average, by that objective; theirs starts from random labels of its own.
"""

from __future__ import annotations

import statistics
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from bench.cases import Job, Mismatch
from bench.peers import released
from bench.peers.on_torch import torch_for
from dali_msda import comixup
from dali_msda.backends.puzzle import cpu_comixup

ISOLATED = True  # one core, whatever torch may start
BESIDE, STARTS = ("nothing", "released"), (1, 4)
BATCH = {"size": 32, "batch": 100, "threads": 1}
TABLES = {
    "quick": [{"what": "step", "starts": 4, "beside": BESIDE, **BATCH}],
    "default": [
        {"what": "step", "starts": 4, "beside": BESIDE, **BATCH},
        {"what": "solve", "starts": STARTS, "beside": BESIDE, **BATCH},
        {"what": "costs", "starts": 1, "beside": "nothing", **BATCH},
    ],
    "all": [{"what": "step", "starts": 4, "beside": BESIDE, **BATCH | {"size": 64}}],
}
BLOCKS, CLASSES, PART = 4, 100, 20
AVERAGED = 6
SHARE_ONE = 2**24


def prepare(case: dict[str, object]) -> Job:
    """What the case names, and the released code beside it where it says so."""
    torch = torch_for(case)
    batch = Batch(torch, case)
    run = {"step": batch.mixed, "solve": batch.solved, "costs": batch.measured}[case["what"]]
    runs, figures = {case["what"]: run}, {}
    if case["what"] != "costs":
        figures["cost"] = mean_cost(batch, lambda step: batch.solved(step=step)[0])
    if case["beside"] == "released":
        theirs = Released(torch, batch)
        theirs.check()
        np.random.seed(0)
        torch.manual_seed(0)
        runs["released"] = theirs.mixed if case["what"] == "step" else theirs.solved
        figures["released_cost"] = mean_cost(batch, lambda _: theirs.solved())
    return Job(runs, None, case["batch"], "images", threads=1, figures=lambda _: figures)


def mean_cost(batch: Batch, solve: Callable[[int], np.ndarray]) -> float:
    """Mean objective of a few batches of the same saliency and other starts."""
    return round(statistics.fmean(batch.cost(solve(step)) for step in range(AVERAGED)), 2)


class Batch:
    """Random images with blobs of saliency, and our side."""

    def __init__(self, torch: ModuleType, case: dict[str, object]):
        size, batch = case["size"], case["batch"]
        rng = np.random.default_rng(0)
        self.images = torch.from_numpy(rng.random((batch, 3, size, size), np.float32))
        blobs = np.exp(1.5 * rng.standard_normal((batch, 8, 8))).astype(np.float32)
        self.maps = np.ascontiguousarray(blobs.repeat(size // 8, 1).repeat(size // 8, 2))
        self.labels = torch.arange(batch) % CLASSES
        self.settings = comixup.CoMixupSettings(part=PART, starts=case["starts"])
        self.threads = case["threads"]
        self.measures = self.measured()

    def measured(self) -> tuple[np.ndarray, ...]:
        """Shares and peaks."""
        window, stride = self.settings.window, self.settings.stride
        return cpu_comixup.measure(self.maps, BLOCKS, window, stride, self.threads)

    def solved(self, **change: float) -> tuple[np.ndarray, np.ndarray]:
        """Sources and costs, from shares and peaks."""
        given = {name: getattr(self.settings, name) for name in self.settings.__dataclass_fields__}
        for name in ("window", "stride"):
            del given[name]
        given |= dict(seed=0, step=0, rank=0, threads=self.threads) | change
        return cpu_comixup.solve(*self.measures[:2], **given)

    def mixed(self) -> tuple:
        """The step after the gradient: images and targets."""
        how = dict(settings=self.settings, blocks=BLOCKS, threads=self.threads)
        found = comixup.solve(self.maps, **how)
        pixels = self.images.permute(0, 2, 3, 1)
        targets = comixup.targets(self.labels, found, num_classes=CLASSES)
        return comixup.blend(pixels, found, threads=self.threads), targets

    def shares(self, sources: np.ndarray) -> np.ndarray:
        """How much each block shows of each input of its part: ``(B, n, n, PART)``."""
        first = np.arange(len(sources))[:, None, None, None] // PART * PART
        return np.eye(PART, dtype=np.float32)[sources - first].mean(-2)

    def cost(self, sources: np.ndarray) -> float:
        """Mean objective of the parts, without the prior and the distances of inputs."""
        n, s = BLOCKS * BLOCKS, self.settings
        shown = self.shares(sources) if sources.ndim == 4 and sources.shape[-1] == 2 else sources
        total = -(shown * self._hidden()).sum()
        for axis in (1, 2):
            total += s.beta / n / 2 * (np.diff(shown, axis=axis) ** 2).sum()
        counts = shown.sum((1, 2)).reshape(-1, PART, PART)
        others = counts.sum(1, keepdims=True) - counts
        total += s.gamma / n * (np.where(others > s.tau * n, others, 0) * counts).sum()
        return float(total) * PART / len(shown)

    def _hidden(self) -> np.ndarray:
        parts = (self.measures[0] / SHARE_ONE).reshape(-1, PART, BLOCKS, BLOCKS)
        return np.moveaxis(parts, 1, 3).repeat(PART, 0)


class Released:
    """The authors' side of a batch."""

    def __init__(self, torch: ModuleType, batch: Batch):
        self._torch, self._batch = torch, batch
        self._code = released.load("match", "get_onehot_matrix", "--comixup-repo")
        folder = str(Path(self._code.__file__).parent)
        sys.path.insert(0, folder)  # its modules import each other
        try:
            step = released.load("mixup_parallel", "mixup_process_worker", "--comixup-repo")
        finally:
            sys.path.remove(folder)
        self._step = step.mixup_process_worker
        self._maps = torch.from_numpy(batch.maps)
        self._rows = torch.eye(CLASSES)[batch.labels]
        s = batch.settings
        self._settings = Namespace(
            m_block_num=BLOCKS, m_omega=s.omega, m_beta=s.beta, m_gamma=s.gamma, m_eta=s.eta,
            mixup_alpha=s.alpha, m_thres=s.tau, m_thres_type="hard", set_resolve=s.resolve,
            m_niter=s.sweeps,
        )  # fmt: skip

    def _parts(self) -> list[slice]:
        return [slice(k, k + PART) for k in range(0, len(self._maps), PART)]

    def _distances(self) -> list:
        torch = self._torch
        peaks = torch.from_numpy(self._batch.measures[1]).float()
        return [torch.cdist(peaks[part], peaks[part], p=1) for part in self._parts()]

    def solved(self) -> np.ndarray:
        """Shares of each input in each block, from costs that are made."""
        torch, s, found = self._torch, self._settings, []
        hidden = self._batch.measures[0] / SHARE_ONE
        for part, apart in zip(self._parts(), self._distances(), strict=True):
            costs = -torch.from_numpy(hidden[part]).float()
            likes = (1 - s.m_omega) * torch.eye(PART) + s.m_omega * PART * apart / apart.sum()
            found.append(
                self._code.get_onehot_matrix(
                    costs, likes, PART, beta=s.m_beta, gamma=s.m_gamma, eta=s.m_eta,
                    mixup_alpha=s.mixup_alpha, thres=s.m_thres, thres_type=s.m_thres_type,
                    set_resolve=s.set_resolve, niter=s.m_niter, device="cpu",
                )
            )  # fmt: skip
        return torch.cat(found).numpy()

    def mixed(self) -> list:
        """Images and targets, part by part."""
        made = []
        for part, apart in zip(self._parts(), self._distances(), strict=True):
            images, rows, maps = self._batch.images[part], self._rows[part], self._maps[part]
            made.append(self._step(images, rows, 0, self._settings, maps, apart))
        return made

    def check(self) -> None:
        """Compare both sides by our outputs.

        Raises:
            Mismatch: If images, targets or costs differ.
        """
        batch, torch, s = self._batch, self._torch, self._batch.settings
        sources, _ = batch.solved()
        images, rows = batch.mixed()
        for part in self._parts():
            shown = torch.from_numpy(batch.shares(sources[part] - part.start))
            theirs, targets = self._code.mix_input(shown, batch.images[part], self._rows[part])
            apart = max((theirs - images[part]).abs().max(), (targets - rows[part]).abs().max())
            if apart > 1e-5:
                raise Mismatch(f"released: by our outputs it makes others, {apart:.2g} apart")
        n, (sources, costs) = BLOCKS * BLOCKS, batch.solved(eta=0.0, omega=0.0)
        for part, cost in zip(self._parts(), costs, strict=True):
            shown = torch.from_numpy(batch.shares(sources[part] - part.start))
            hidden = torch.from_numpy(-batch.measures[0][part] / SHARE_ONE)
            given = (s.beta / n, s.gamma / n, s.tau * n)
            theirs = float(self._code.obj_fn_thres(hidden, shown.double(), *given))
            if abs(theirs - cost) > 1e-5 * max(1.0, abs(cost)):
                raise Mismatch(f"released: our outputs cost {theirs:.6g} there, {cost:.6g} here")
