"""One random call of an array function, a function of its seed alone."""

import numpy as np

import dali_msda as msda
from dali_msda import puzzle as puzzles
from dali_msda.policy import POLICIES

WILD = [0, -1, 2**31 - 1, 2**31, 2**32 + 5, 2**63, 2**64, 1.5, "7", None, True, np.int64(3)]
SHARES = [0.0, 1.0, 0.5, 1e-9, 0.99999, -0.1, 1.1, float("nan"), float("inf"), "a", None]
WORDS = ["clip", "inside", "wrap", "sample", "pair", "batch", "flip", "roll", "derangement", "HWC"]
WORDS += ["paper", "legacy", "exact", "code", "nominal", "nearest", "coin", "permutation", "CHW"]
WORDS += ["", None, 3, ["x"], b"clip", "uint8"]
SETTINGS = {
    "alpha": [0.01, 0.2, 1.0, 100.0],
    "scope": ["sample", "pair", "batch"],
    "partner": ["permutation", "derangement", "flip", "roll"],
    "prob": [0.0, 0.5, 1.0],
    "n": [2, 3, 4],
    "box": ["clip", "inside", "wrap"],
    "minmax": [(0.1, 0.5), (1e-9, 1.0), None],
    "r": [0.0, 0.5, 1.0],
    "gamma": [None, 0.01, 1.0],
    "decay": [0.0, 3.0, 10.0],
    "max_soft": [0.0, 0.3, 0.5],
    "rounding": ["nearest", "stochastic", "coin"],
    "reformulate": [False, True],
    "modes": [None, 1, 5, 2**31 - 1],
    "law": ["paper", "legacy"],
    "tau": [(0.1, 0.8), (1e-9, 1e-9), (1.0, 1.0)],
    "length": [1, 5, 2**31 - 1],
    "blocks": [(2, 4), (4, 3, 3), (16,)],
    "prior_lam": [None, 0.5],
    "places": [2, 8],
    "cell": [1, 3],
    "levels": [2, 3, 4],
    "beta": [0.0, 8.0],
    "eta": [0.0, 1.0],
    "move_cost": [0.0, 16.0],
    "transport": [False, True],
}
DTYPES = ["u1", "f4", "f2", "f8", "i4", ">f4", ">u2", "?", "c8", "i8", "O", "S3"]


class Fuzz:
    """Random values. Of half of the calls all are sensible, of a quarter only some are."""

    def __init__(self, seed, torch):
        self.rng, self.torch = np.random.default_rng(seed), torch
        self.wildness = self.one([0, 0, 0.3, 1])

    def one(self, values):
        return values[self.rng.integers(len(values))]

    def rarely(self, share):
        return self.rng.random() < share

    def odd(self, share=0.06):
        """Whether to give something that is not sensible."""
        return self.rng.random() < share * self.wildness

    def maybe(self, good, wild, share=0.2):
        return self.one(wild) if self.odd(share) else self.one(good)

    def size(self):
        if self.odd():
            return self.one(WILD)
        return int(self.rng.integers(1, self.one([3, 9, 40])))

    def shape(self):
        axes = self.one([1, 3]) if self.odd(0.3) else 2
        return tuple(int(self.rng.integers(1, 24)) for _ in range(axes))

    def policy(self, nested=True):
        kind = self.one(list(POLICIES.values()))
        names = [name for name in kind.__dataclass_fields__ if name in SETTINGS]
        settings = {name: self.one(SETTINGS[name]) for name in names if self.rarely(0.3)}
        if names and self.odd():
            settings[self.one(names)] = self.one([*WILD, *SHARES, *WORDS])
        if nested and self.rarely(0.25):
            parts = [self.policy(False) for _ in range(self.rng.integers(1, 4))]
            match self.rng.integers(3):
                case 0:
                    return msda.Choice(parts, scope=self.maybe(["sample", "batch"], ["pair"]))
                case 1:
                    return msda.Alternate(parts, [self.one([1, 2, 2**24 - 1]) for _ in parts])
                case _:
                    return msda.MultiMix(parts[0], self.maybe([2, 3, 64], [65, 0]))
        return kind(**settings)

    def draw(self, policy, batch, shape, **options):
        if isinstance(policy, msda.policy.Policy) and policy.needs_peaks:
            top = (self.rng.random((batch, 2)) * (*(1, 1), *shape)[-2:]).astype(np.int64)
            options["peaks"] = top + (self.one(WILD[:3]) if self.odd() else 0)
        return msda.draw(policy, batch, shape=shape, **options)

    def plan(self, batch, shape):
        plan = self.draw(
            self.policy(), batch, shape, seed=int(self.rng.integers(2**62)), step=int(batch)
        )
        if self.odd(0.4):
            self.damage(plan)
        match self.rng.integers(3) if self.odd(0.3) else self.rng.integers(2, 9):
            case 0:
                return plan[: len(plan) // 2]
            case 1:
                return plan.astype(plan.dtype.newbyteorder(">"))
            case 2:
                return np.repeat(plan, 2, 0)[::2]
            case 3:
                plan.flags.writeable = False
            case 4:
                return plan[::-1]
        return plan

    def damage(self, plan):
        flat = plan.reshape(-1)
        for _ in range(self.rng.integers(1, 4) if plan.size else 0):
            if self.rng.random() < 0.5:
                flat.view(np.uint8)[self.rng.integers(plan.nbytes)] = self.rng.integers(256)
                continue
            name = self.one(plan.dtype.names)
            kind = plan.dtype[name].base
            numbers = [0, 1, -1, 2, 2**31 - 1, -(2**31), self.rng.random(), 3e38]
            value = np.float64(self.one(numbers))
            with np.errstate(all="ignore"):
                flat[self.rng.integers(plan.size)][name] = value.astype(kind)

    def array(self, shape, dtype="u1"):
        """An array, sometimes of another type, order, layout, or library."""
        if self.odd(0.1):
            dtype = self.one(DTYPES)
        kind = np.dtype(dtype)
        array = np.zeros(shape, kind)
        if kind.kind in "fiu":
            low = kind.kind != "u" and self.odd(0.1)
            array[...] = self.rng.integers(-5 if low else 0, 120, shape)
            if kind.kind == "f" and self.odd(0.1) and array.size:
                array.flat[self.rng.integers(array.size)] = self.one([np.nan, np.inf, -1e38])
        turn = self.rng.integers(8) if self.odd(0.4) else self.one([0, 7, 8, 9])
        match turn if array.ndim else 9:
            case 0:
                array = array[::-1]
            case 1:
                array = np.repeat(array, 2, -1)[..., ::2]
            case 2:
                array = np.asfortranarray(array)
            case 3:
                array = np.broadcast_to(array[:1], array.shape)
            case 4 if array.ndim > 1:
                array = np.moveaxis(np.ascontiguousarray(np.moveaxis(array, -1, 1)), 1, -1)
            case 5:
                array.flags.writeable = False
            case 6:
                array = array.tolist()
            case 7:
                odd = np.zeros(array.nbytes + 1, np.uint8)[1:]
                array = (
                    odd.view(kind).reshape(shape) if kind.kind != "O" and array.nbytes else array
                )
        usable = isinstance(array, np.ndarray) and array.dtype.kind in "fiub"
        usable = usable and array.dtype.isnative and array.flags.writeable
        if self.torch and usable and self.rarely(0.4) and min(array.strides, default=0) >= 0:
            return self.torch.from_numpy(array)
        return array

    def blending(self, images, plan):
        options = {}
        batch, channels = len(images), np.shape(images)[-1]
        if self.rarely(0.3):
            options["mean"] = self.maybe([120.0, [99.0] * channels], [[1, 2], "abc", np.nan, 1e39])
            options["std"] = self.maybe([60.0, [50.0] * channels, None], [1e-3, 0, 1e-320, {}])
        if self.rarely(0.3):
            options["mirror"] = self.array((self.maybe([batch], [batch + 1]),), "?")
        if self.rarely(0.4):
            floats = ["float32", "float16", "bfloat16"]
            options["dtype"] = self.maybe(floats, ["uint8", "int8", *WORDS])
        if self.rarely(0.4):
            options["layout"] = self.maybe(["HWC", "CHW"], WORDS)
        if self.rarely(0.2):
            options["threads"] = self.maybe([1, 2, 3], WILD)
        if self.rarely(0.3):
            shape = (*np.shape(plan), *np.shape(images)[1:])
            if options.get("layout") == "CHW":
                shape = (*np.shape(plan), channels, *np.shape(images)[1:-1])
            fits = {"bfloat16": "u2", "float16": "f2", "uint8": "u1", "float32": "f4"}
            asked = options.get("dtype")
            kind = fits.get(
                asked if isinstance(asked, str) else None,
                "u1" if "uint8" in str(getattr(images, "dtype", "")) else "f4",
            )
            options["out"] = images if self.rarely(0.3) else self.array(shape, kind)
        return options


def blend(f, folder):
    batch, shape = int(f.rng.integers(0, 7)), f.shape()
    images = f.array((batch, *shape, f.one([1, 3, 3, 3, 2, 4])), f.one(["u1", "f4"]))
    plan = f.plan(batch, shape)
    msda.blend(images, plan, **f.blending(images, plan))


def mix(f, folder):
    batch, shape = int(f.rng.integers(0, 7)), f.shape()
    images = f.array((batch, *shape, f.one([1, 3, 3])), f.one(["u1", "f4"]))
    options = {"num_classes": f.maybe([120, 2000], WILD), "smoothing": f.maybe([0.0], SHARES)}
    options["compact"] = f.maybe([False, True], [1, None])
    if options["compact"] is True and not f.odd():
        del options["smoothing"]
    labels = f.array((batch,), "i8")
    msda.mix(images, labels, f.policy(), seed=f.size(), step=1, **options)


def draw(f, folder):
    batch = f.size()
    options = {"seed": f.size(), "step": f.size()}
    if f.rarely(0.2):
        options["rank"] = f.size()
    if f.rarely(0.2):
        options["distinct"] = f.size() if f.odd(0.5) else 1
    if type(batch) is int and 0 <= batch < 100:
        if f.rarely(0.3):
            options["ids"] = f.array((batch,), "i8")
        if f.rarely(0.3):
            options["lam"] = f.maybe([f.rng.random(batch), 0.5], SHARES)
        if f.rarely(0.3):
            options["peaks"] = f.array((batch, 2), "i4")
    if f.rarely(0.5):
        msda.draw(f.policy(), batch, f.size(), f.size(), **options)
    else:
        shape = tuple(f.size() for _ in range(f.rng.integers(0, 5) if f.odd(0.3) else 2))
        msda.draw(f.policy(), batch, shape=f.one([shape, list(shape)]), **options)


def targets(f, folder):
    batch, classes = int(f.rng.integers(0, 7)), int(f.rng.integers(1, 9))
    soft = f.rarely(0.4)
    labels = f.array((batch, classes) if soft else (batch,), "f4" if soft else "i8")
    options = {"num_classes": None if soft else f.maybe([120, 2000], WILD)}
    if f.rarely(0.3):
        options["smoothing"] = f.maybe([0.1], SHARES)
    if f.rarely(0.2):
        options["compact"] = f.maybe([not soft], [1, "no"])
    plan = f.plan(batch, f.shape())
    if f.rarely(0.2):
        options["out"] = f.array((*plan.shape, classes), "f4")
    msda.targets(labels, plan, **options)


def mask(f, folder):
    shape = f.shape()
    plan = f.plan(int(f.rng.integers(0, 7)), shape)
    asked = f.maybe([shape], [f.shape(), [f.size() for _ in shape]])
    out = f.array((*plan.shape, *shape), "f4") if f.rarely(0.2) else None
    msda.mask(plan, shape=asked, out=out)


def puzzle(f, folder):
    """A plan of Puzzle Mix, solved and mixed; sides are often multiples of its blocks."""
    settings = {"blocks": (f.one([2, 3, 4]),), "cell": 1, "levels": f.one([2, 3, 4])}
    policy = msda.PuzzleMix(prob=f.one([0.5, 1.0]), **settings)
    drawn = f.maybe([policy, msda.MultiMix(policy, 2)], [msda.CutMix(), msda.PuzzleMix()])
    shape = f.shape() if f.odd(0.2) else tuple(12 * f.one([1, 2]) for _ in range(2))
    batch = int(f.rng.integers(0, 5))
    plan = f.draw(drawn, batch, shape, seed=f.size(), step=1)
    if f.odd(0.4):
        f.damage(plan)
    images = f.array((batch, *shape, f.one([1, 3])), f.one(["u1", "f4"]))
    maps = f.array((batch, *shape), "f4")
    found = puzzles.solve(images, maps, plan, settings=f.maybe([policy], [None, "x"]))
    blending = f.blending(images, found.plan)
    if not f.odd():
        blending.pop("mirror", None)
    msda.blend(images, found, **blending)
    msda.mask(found, *shape)
    msda.targets(f.array((batch,), "i8"), found, num_classes=f.maybe([120], WILD))


def saliency(f, folder):
    images = f.array((f.one([0, 1, 4]), *f.shape(), f.maybe([1, 3], [2])), f.one(["u1", "f4"]))
    mirror = f.array((len(images),), "?") if f.rarely(0.3) else None
    threads = f.maybe([0, 1, 2], WILD) if f.rarely(0.2) else 0
    msda.saliency(images, maps=f.maybe([False, True], [1]), mirror=mirror, threads=threads)


def segmentation(f, folder):
    batch, shape = int(f.rng.integers(0, 5)), f.shape()
    maps = f.array((batch, *shape), f.one(["u1", "i8", "i4"]))
    options = {"num_classes": f.maybe([None, 120], WILD[:9]), "soft": f.one([False, True])}
    if options["num_classes"] in (2**31 - 1, 2**31, 2**32 + 5, 2**63, 2**64):
        options["soft"] = False  # it would ask for so much memory, and may
    if options["num_classes"] is None and not f.odd(0.5):
        options["soft"] = False
    if f.rarely(0.2):
        options["ignore"] = f.maybe([255, 0], WILD)
    if f.rarely(0.2):
        options["erased"] = f.maybe([5, 0], WILD)
    if f.rarely(0.2):
        options["mirror"] = f.array((batch,), "?")
    msda.segmentation(maps, f.plan(batch, shape), **options)


def boxes(f, folder):
    batch, shape = int(f.rng.integers(0, 5)), f.shape()
    counts = [int(f.rng.integers(0, 4)) for _ in range(batch)]
    ends = [np.sort(f.rng.random((n, 2, 2)) * 24, axis=1).reshape(n, 4) for n in counts]
    given = [one.astype(f.one(["f4", "f4", "f8", "i4", ">f4"])) for one in ends]
    if batch and f.odd(0.2):
        given[0] = f.array((2, f.one([4, 3])), "f4")
    labels = [f.array((n,), "i8") for n in counts]
    msda.boxes(given, labels, f.plan(batch, shape), min_visible=f.maybe([0.3, 0.0], SHARES))


def values(f, folder):
    batch = int(f.rng.integers(0, 7))
    given = f.array((batch, *f.shape()) if f.rarely(0.5) else (batch,), f.one(["f4", "f8"]))
    msda.values(given, f.plan(batch, f.shape()))


def files(f, folder):
    """A saved plan with some bytes changed, cut off or put in."""
    path = folder / "plan"
    plan = f.draw(msda.CutMix(), int(f.rng.integers(1, 6)), (9, 9), seed=1, step=0)
    msda.save(path, plan)
    data = bytearray(path.read_bytes())
    for _ in range(f.rng.integers(0, 5)):
        at = int(f.rng.integers(f.one([len(data), 128])))
        match f.rng.integers(4):
            case 0:
                del data[at:]
            case 1:
                data[at:at] = f.rng.bytes(f.rng.integers(1, 9))
            case _:
                data[at : at + 1] = f.rng.bytes(1)
        data = data or bytearray(b"\x93NUMPY")
    path.write_bytes(data)
    loaded = msda.load(path)
    msda.targets([0] * 6, loaded, num_classes=3)


CALLS = [blend, blend, blend, mix, mix, draw, draw, targets, mask]
CALLS += [puzzle, saliency, segmentation, boxes, values, files]


def call(seed, folder, torch=None):
    """Make the call of a seed, where torch is given with tensors among the arrays."""
    f = Fuzz(seed, torch)
    f.one(CALLS)(f, folder)
