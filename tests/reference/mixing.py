"""The definitions of this package once more: NumPy, plain loops, float64, written from the papers.

Nothing here is shared with the kernels, so that an error in either shows as a difference. Only
tests and benchmarks import this module. Each method's draws are in reference_methods.py, the fields
of FMix in reference_fields.py.

The nominal lambda (and the Dirichlet weights of three and more sources) are taken from the record
instead of being drawn again, since all the rest follows from its 32 bits;
:func:`nominal_lambda` draws it. Everything else is a function of the policy, the seed, the step and
that lambda.
"""

import itertools
import math

import numpy as np

from dali_msda.policy import codes
from dali_msda.record import PLAN_DTYPE
from tests.reference.fields import field_mask
from tests.reference.methods import (
    BUMPS,
    CODES,
    LAM,
    LEAF,
    MASKS,
    MIX,
    PERMUTATION,
    Filler,
    Stream,
    box_interval,
    bump,
    philox,
)

__all__ = ["Stream", "blend", "coverage", "draw", "nominal_lambda", "own_weight", "philox"]
__all__ += ["targets"]


def partners(rule, stream, identities, source=1, pairs=False):
    """Partner of every slot under ``rule``; ``source`` 2 and 3 give the third and fourth sample."""
    slots = range(n := len(identities))
    if rule == "flip":
        return [n - 1 - i for i in slots]
    if rule == "roll":
        return [(i - source) % n for i in slots]
    for attempt in range(4096):
        number = attempt + (source - 1) * 4096
        keys = [stream.word(identities[i], PERMUTATION, number) for i in slots]
        order = sorted(slots, key=lambda i: keys[i])  # stable, as argsort
        if (rule == "permutation" and not pairs) or n == 1:
            return order
        if pairs:  # the shuffled slots are taken two by two; an odd last one stays alone
            partner = dict(zip(order, order, strict=True))
            for i, j in zip(order[::2], order[1::2], strict=False):
                partner[i], partner[j] = j, i
            return [partner[i] for i in slots]
        if all(i != j for i, j in enumerate(order)):
            return order
    raise AssertionError("no derangement in 4096 attempts: the chance of that is 1e-816")


def stages(policy):
    """A policy as a list of (count of batches, scope of the choice, [(leaf, share), ...])."""
    if hasattr(policy, "counts"):
        counts = policy.counts or [1] * len(policy.policies)
        return [(n, *stages(p)[0][1:]) for n, p in zip(counts, policy.policies, strict=True)]
    if hasattr(policy, "weights"):
        weights = policy.weights or [1.0] * len(policy.policies)
        shares = [w / math.fsum(weights) for w in weights]
        return [(1, policy.scope, list(zip(policy.policies, shares, strict=True)))]
    return [(1, "batch", [(policy, 1.0)])]


def active_stage(policy, step):
    """The stage that serves batch ``step``, and the number of leaves before it."""
    every = stages(policy)
    position, first = step % sum(count for count, *_ in every), 0
    for count, scope, leaves in every:
        if position < count:
            return scope, leaves, first
        position, first = position - count, first + len(leaves)
    raise AssertionError("unreachable")


class Interpolation:
    """One interpolation of a multi-mix as a policy."""

    interpolations = None

    def __init__(self, multi, number):
        self.policy, self.number, self.count = multi.policy, number, multi.k
        self.shared = multi.share == "batch"


def draw(
    policy,
    batch,
    *shape,
    seed,
    step,
    drawn,
    given=False,
    rank=0,
    ids=None,
    distinct=None,
    peaks=None,
):
    """The plan of one batch, given the nominal ``lam`` and weights of the records ``drawn``.

    ``shape`` is that of the samples, one to three axes. ``given`` says that the caller gave
    lambda, instead of having it drawn; ``peaks`` are the most salient pixels of the samples. The
    interpolations of a multi-mix are plans of their own, which have all draws but lambda in common.
    """
    if (k := policy.interpolations) is not None:
        key = dict(seed=seed, step=step, given=given, rank=rank, ids=ids, distinct=distinct)
        key["peaks"] = peaks
        columns = [
            draw(Interpolation(policy, i), batch, *shape, drawn=drawn[:, i], **key)
            for i in range(k)
        ]
        return np.stack(columns, 1)
    policy, which = (policy.policy, policy) if isinstance(policy, Interpolation) else (policy, None)
    stream, mixed = Stream(seed, step), batch if distinct is None else distinct
    identities = [rank << 32 | i for i in range(batch)] if ids is None else [int(i) for i in ids]
    choice_scope, leaves, first_leaf = active_stage(policy, step)
    plan = np.zeros(batch, PLAN_DTYPE)
    plan["version"], plan["sources"], plan["own"] = 1, 1, np.arange(batch)
    plan["partner"], plan["extra"] = np.arange(batch), np.arange(batch)[:, None]
    for name in ("weight", "lam", "inside", "outside"):
        plan[name] = 1
    plan["depth"], plan["height"], plan["width"] = (1, 1, *shape)[-3:]

    def partner_lists(leaf):
        pairs = leaf.scope == "pair" and leaf.partner == "permutation"
        count = getattr(leaf, "n", 2)
        return [partners(leaf.partner, stream, identities[:mixed], s, pairs)
                for s in range(1, count)]  # fmt: skip

    def unit(scope, i, partner):
        return identities[{"sample": i, "pair": min(i, partner[i]), "batch": 0}[scope]]

    others = [partner_lists(leaf) for leaf, _ in leaves]
    for i, p in enumerate(plan[:mixed]):
        u = stream.uniform(unit(choice_scope, i, others[0][0]), LEAF)
        cumulative = np.cumsum([share for _, share in leaves])
        index = min(int(np.sum(u >= cumulative)), len(leaves) - 1)
        leaf, partner = leaves[index][0], others[index]
        p["leaf"] = first_leaf + index
        identity = unit(leaf.scope, i, partner[0])
        if stream.uniform(identity, MIX) < leaf.prob:
            p["sources"] = 1 + len(partner)
            p["partner"] = partner[0][i]
            p["extra"][: len(partner) - 1] = [j[i] for j in partner[1:]]
            p["lam"], p["method"] = drawn["lam"][i], CODES[leaf.method]
            filler = Filler(p, leaf, drawn[i], given, stream, identity)
            if which is not None:
                filler.which = (
                    which.number,
                    which.count,
                    identities[0] if which.shared else identity,
                )
            filler.first = identities[0]
            if leaf.method == "saliencymix":
                filler.peak = peaks[partner[0][0 if leaf.scope == "batch" else i]]
            if hasattr(filler, leaf.method):
                getattr(filler, leaf.method)()
            else:  # a method that is not written down here once more
                plan[i] = drawn[i]
    return plan


def nominal_lambda(policy, *, seed, step, identity, k=1):
    """The lambda that a method with two sources draws for a sample; of ``k``, in falling order."""
    first = policy.alpha + getattr(policy, "reformulate", False)
    stream, numbers = Stream(seed, step), itertools.count()
    drawn = [stream.dirichlet([first, policy.alpha], identity, LAM, numbers)[0] for _ in range(k)]
    return float(drawn[0]) if k == 1 else sorted(map(float, drawn), reverse=True)


def in_box(p, height, width):
    """Which pixels lie in the record's box; past the border it goes on at the other side."""
    y, x = np.arange(height)[:, None], np.arange(width)
    rows = (y - p["y0"]) % height < p["y1"] - p["y0"]
    return rows & ((x - p["x0"]) % width < p["x1"] - p["x0"])


def own_weight(plan, *shape):
    """Own weight of every pixel, ``(B, *shape)`` float32; two axes but for Mixup and FMix."""
    weight = np.ones((len(plan), *shape), np.float32)
    for w, p in zip(weight, plan, strict=True):
        if p["method"] == CODES["mixup"]:
            w[:] = p["outside"] if p["sources"] == 2 else p["weight"]
        elif p["method"] in BUMPS:
            y, x = (bump(p["falloff"][k], p["point"][k], n) for k, n in enumerate(shape, 1))
            w[:] = p["outside"] + (float(p["inside"]) - p["outside"]) * np.outer(y, x)
        elif p["method"] in MASKS:
            w[:] = field_mask(p).reshape(shape)
        elif p["method"] != CODES["none"]:
            w[:] = np.where(in_box(p, *shape), p["inside"], p["outside"])
    return weight


def shrunk_into_box(image, p):
    """ResizeMix: the image whose box holds the whole image, shrunk; nearest pixels."""
    ends = ((1, "y0", "y1"), (2, "x0", "x1"))
    with np.errstate(over="ignore"):
        rows, columns = (
            np.minimum(np.floor(np.arange(p[b] - p[a], dtype=np.float32) * p["falloff"][k]), n - 1)
            for (k, a, b), n in zip(ends, image.shape, strict=False)
        )
    rows, columns = rows.astype(int), columns.astype(int)
    image = image.copy()
    image[p["y0"] : p["y1"], p["x0"] : p["x1"]] = image[np.ix_(rows, columns)]
    return image


def fma(a, b, c):
    """``a * b + c`` of float32 values, rounded once."""
    a, b, c = (np.asarray(v, np.float32).astype(np.float64) for v in (a, b, c))
    product = a * b  # exact: 48 bits
    total = product + c
    back = total - product
    error = (product - (total - back)) + (c - back)  # exact (Knuth's two-sum)
    even = (total.view(np.int64) & 1) == 0
    inexact = np.isfinite(total) & (error != 0)
    # Rounding to odd keeps what a second rounding needs to know (Boldo & Melquiond 2008).
    odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where(inexact & even, odd, total).astype(np.float32)


def two_sources(w, a, b):
    """``w * a + (1 - w) * b``, as documented for each dtype of the pixels."""
    if a.dtype == np.uint8:
        a, b = a.astype(np.float32), b.astype(np.float32)
        return fma(w, a - b, b)
    near_a = fma(np.float32(1) - w, b - a, a)
    near_b = fma(w, a - b, b)
    mixed = np.where(w >= 0.5, near_a, near_b)
    return np.where(w == 1, a, np.where(w == 0, b, mixed))


def many_sources(p, images):
    """Three or four sources: differences from the first that takes part, added up one by one."""
    sources = [p["own"], p["partner"], *p["extra"]][: p["sources"]]
    weights = [p["weight"], p["partner_weight"], *p["extra_weight"]]
    values = [images[s].astype(np.float32) for s, w in zip(sources, weights, strict=False) if w]
    mixed = values[0]
    for w, value in zip([w for w in weights if w][1:], values[1:], strict=True):
        mixed = fma(w, value - values[0], mixed)
    return mixed


def to_bfloat16(value):
    """Bits of the nearest bfloat16 numbers, halves to even, as uint16."""
    bits = np.asarray(value, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(value), bits >> 16 | 0x40, rounded).astype(np.uint16)


def blend(images, plan, *, mean=None, std=None, mirror=None, dtype=None, layout="HWC", weight=None):
    """The mixed batch; bfloat16 outputs are given as their bits.

    ``weight`` replaces the own weights of the pixels.
    """
    images = np.asarray(images)
    size, channels = images.shape[1:-1], images.shape[-1]
    if mirror is not None:
        flipped = np.flatnonzero(np.asarray(mirror, bool))
        images = images.copy()
        images[flipped] = images[flipped, ..., ::-1, :]
    weight = (own_weight(plan, *size) if weight is None else weight)[..., None]
    partners = images[plan["partner"]]
    for i in np.flatnonzero(np.isin(plan["method"], codes("shrinks"))):
        partners[i] = shrunk_into_box(partners[i], plan[i])
    with np.errstate(invalid="ignore", over="ignore"):
        mixed = two_sources(weight, images[plan["own"]], partners)
        for i in np.flatnonzero(plan["sources"] > 2):
            mixed[i] = many_sources(plan[i], images)
        if mean is not None or std is not None:
            mean = np.zeros(channels) if mean is None else np.asarray(mean, np.float64)
            std = np.ones(channels) if std is None else np.asarray(std, np.float64)
            mixed = fma(mixed, (1 / std).astype(np.float32), (-mean / std).astype(np.float32))
        for i in np.flatnonzero(np.isin(plan["method"], codes("erases"))):
            mixed[i][in_box(plan[i], *size)] = 0
        dtype = dtype or str(images.dtype)
        if dtype == "uint8":
            mixed = np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)
        elif dtype == "bfloat16":
            mixed = to_bfloat16(mixed)
        else:
            mixed = mixed.astype(dtype)
    return mixed if layout == "HWC" else np.ascontiguousarray(np.moveaxis(mixed, -1, 1))


def targets(labels, plan, *, num_classes=None, smoothing=0.0):
    """``(B, C)`` float32 rows: smoothed sums of the sources' label weights."""
    labels = np.asarray(labels)
    if labels.ndim == 1:
        labels = np.eye(num_classes, dtype=np.float32)[labels]
    sources = np.column_stack([plan["own"], plan["partner"], plan["extra"]])
    weights = np.column_stack([plan["weight"], plan["partner_weight"], plan["extra_weight"]])
    rows = np.einsum("bk,bkc->bc", weights.astype(np.float64), labels[sources].astype(np.float64))
    return ((1 - np.float64(smoothing)) * rows + smoothing / labels.shape[1]).astype(np.float32)


def coverage(n, lam, kind):
    """P(pixels j and k of an axis of ``n`` are both in the box), ``(n, n)``, by enumeration."""
    share = math.sqrt(1 - lam)
    starts = {"clip": n, "wrap": n, "inside": n - round(n * share) + 1}[kind]
    covered = np.zeros((starts, n))
    for start, row in enumerate(covered):
        low, high = box_interval(n, share, kind, lambda m, start=start: start)
        row[np.arange(low, high) % n] = 1
    return covered.T @ covered / starts
