"""Cross-entropy with soft labels in PyTorch, forward and backward: compact against dense.

``dense`` is ours with rows, ``torch`` PyTorch's own ``cross_entropy`` with rows of probabilities,
and ``timm`` timm's ``SoftTargetCrossEntropy``. The making of the rows is not counted. Loss and
gradient of all are compared first. ``hard`` is PyTorch's loss of hard labels.

Each reads the logits, computes the logarithms of their softmax, and writes their gradient. Dense
also reads the rows twice and writes two tensors of their size. While autograd made the gradient of
compact, with a tensor of zeros, a scatter and log_softmax's backward, compact was only 1.2 times as
fast as dense on one thread, and as fast on two. Now the gradient is the scaled softmax less a few
entries: 1.35 to 1.5 times as fast on one thread, 1.2 to 1.5 on two (256 x 1000), and 1.5 with 21841
classes. With 10 classes there is nothing to save, and more calls leave compact 0.9 times as fast.
The rows, which a loader makes and copies, come on top of dense. To compute the softmax in the
backward and scale it in place would save a tenth more, but it would not serve gradients that are
taken several at a time, ``is_grads_batched``.

Those figures are from an Intel Xeon. On an AMD EPYC compact had 0.7 times the speed of dense: there
PyTorch's exp, from Intel's library, takes longer than its whole log_softmax. Now compact does
without it: the logarithms of a few entries follow from the softmax and the greatest value of a
row. It is 1.4 times as fast as before. That is 1.1 to 1.2 times as fast as dense on one thread, and
as fast on two, where half of its 0.3 ms are calls, of which a backward in Python has more.
"""

import numpy as np

import dali_msda as msda
from bench.cases import Job, Mismatch, clock_for
from bench.peers.on_torch import torch_for

ISOLATED = True
COMMON = {"batch": 256, "classes": 1000}
TABLES = {
    "quick": [{**COMMON, "threads": 1}],
    "default": [{**COMMON, "threads": (1, "all")}],
    "all": [{"batch": (64, 256), "classes": (10, 1000, 21841), "threads": (1, "all")}],
}


def prepare(case: dict[str, object]) -> Job:
    """A step of each loss on the same logits."""
    torch = torch_for(case)
    from torch.nn import functional

    from dali_msda.torch import soft_target_cross_entropy

    batch, classes, threads = case["batch"], case["classes"], case["threads"]
    torch.manual_seed(0)
    logits = torch.randn(batch, classes, requires_grad=True)
    labels = torch.from_numpy(np.arange(batch) % classes)
    plan = msda.draw(msda.CutMix(), batch, 224, 224, seed=0, step=0)
    rows = msda.targets(labels, plan, num_classes=classes)
    pair = msda.targets(labels, plan, compact=True)
    losses = {
        "compact": lambda: soft_target_cross_entropy(logits, *pair),
        "dense": lambda: soft_target_cross_entropy(logits, rows),
        "torch": lambda: functional.cross_entropy(logits, rows),
    }
    try:
        from timm.loss import SoftTargetCrossEntropy
    except ImportError:
        pass
    else:
        theirs = SoftTargetCrossEntropy()
        losses["timm"] = lambda: theirs(logits, rows)

    def step(loss):
        logits.grad = None
        value = loss()
        value.backward()
        return value

    _check(logits, losses, step)
    losses["hard"] = lambda: functional.cross_entropy(logits, labels)
    runs = {name: lambda loss=loss: step(loss) for name, loss in losses.items()}
    moved = 2 * logits.nbytes  # the logits are read and their gradient is written
    return Job(runs, moved, batch, "samples", threads=threads, clock=clock_for(threads))


def _check(logits, losses, step) -> None:
    """All losses and gradients are those of the first."""
    values = {}
    for name, loss in losses.items():
        values[name] = step(loss).item(), logits.grad.clone()
    first, gradient = values.pop("compact")
    for name, (value, other) in values.items():
        if abs(value - first) > 1e-4 * abs(first) or (other - gradient).abs().max() > 1e-6:
            raise Mismatch(f"{name}: expected loss {first} and its gradient, got {value}")
