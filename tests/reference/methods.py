"""The definitions once more, first part: random numbers, and what each method draws from them.

See :mod:`tests.reference.mixing`, which puts the records of a batch together.

Sources: Salmon et al., SC 2011 (Philox); Marsaglia and Tsang, ACM TOMS 2000 (Gamma variables);
Zhang et al., arXiv:1710.09412 (Mixup); Yun et al., arXiv:1905.04899 (CutMix; ``clip`` is the box of
the authors' code); Harris et al., arXiv:2002.12047 (FMix); Park et al., arXiv:2208.09913 (HMix,
GMix); Qin et al., arXiv:2012.11101 (ResizeMix); Uddin et al., arXiv:2006.01791 (SaliencyMix);
DeVries and Taylor, arXiv:1708.04552 (Cutout); Kim et al., arXiv:2009.06962 (PuzzleMix).
"""

import itertools
import math

import numpy as np

from dali_msda.policy import codes_weighing_by
from dali_msda.record import METHOD_NAMES

CODES = {name: code for code, name in METHOD_NAMES.items()}
NARROWEST = 64.0  # a falloff whose bump is a single pixel
BUMPS, MASKS = codes_weighing_by("bump"), codes_weighing_by("mask")
LAM, POSITION, PERMUTATION, MIX, LEAF, FIELD, SIDES, RATIO, ROUNDING, BLOCKS = range(1, 11)


def philox(counter, key):
    """Four words of Philox4x32-10 for a counter of four words and a key of two.

    The words are Python's integers or arrays of uint64.
    """
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b % 2**32, (a >> 32) ^ c[3] ^ k[1], a % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


class Stream:
    """The random numbers of one seed and step, by identity, purpose and number."""

    def __init__(self, seed, step):
        self.key, self.step = (seed % 2**32, seed >> 32), step

    def word(self, identity, purpose, number):
        """64 random bits. A block of four words serves two numbers."""
        counter = (identity % 2**32, identity >> 32, self.step, purpose << 24 | number // 2)
        high, low = np.split(np.array(philox(counter, self.key), object), 2)[number % 2]
        return high << 32 | low

    def uniform(self, identity, purpose, number=0):
        """A number in the open interval (0, 1): 52 bits, centred in their cell."""
        return ((self.word(identity, purpose, number) >> 12) + 0.5) * 2.0**-52

    def below(self, n, identity, purpose, number):
        """An integer in [0, n)."""
        return self.word(identity, purpose, number) * n >> 64

    def dirichlet(self, shapes, identity, purpose=LAM, numbers=None):
        """Shares that sum to 1, Dirichlet with these shapes; of two the first is Beta.

        ``numbers`` counts the random numbers of several in a row.
        """
        numbers = itertools.count() if numbers is None else numbers

        def uniform():
            return self.uniform(identity, purpose, next(numbers))

        logs = np.array([log_gamma_variable(uniform, shape) for shape in shapes])
        shares = np.exp(logs - logs.max())
        return shares / shares.sum()


def log_gamma_variable(uniform, shape):
    """Logarithm of a Gamma(shape) variable: rejection, and a power of a uniform below shape 1."""
    d = (shape if shape >= 1 else shape + 1) - 1 / 3
    while True:
        x = normal_variable(uniform)
        root = 1 + x / math.sqrt(9 * d)
        if root > 0:
            bound = x * x / 2 + d - d * root**3 + 3 * d * math.log(root)
            if math.log(uniform()) < bound:
                break
    value = math.log(d) + 3 * math.log(root)
    return value if shape >= 1 else value + math.log(uniform()) / shape


def normal_variable(uniform):
    """A standard normal by the polar method, which throws away the second of a pair."""
    while True:
        a, b = 2 * uniform() - 1, 2 * uniform() - 1
        square = a * a + b * b
        if 0 < square < 1:
            return a * math.sqrt(-2 * math.log(square) / square)


def box_interval(n, share, kind, start, side=None):
    """One axis of a box of ``share**2`` of the area, half-open; ``start(m)`` draws from [0, m)."""
    if kind == "clip":
        half, centre = math.floor(n * share) // 2, start(n)
        return max(centre - half, 0), min(centre + half, n)
    side = round(n * share) if side is None else side  # Python's round is half to even
    first = start(n if kind == "wrap" else n - side + 1)
    return first, first + side


class Filler:
    """Fills the record ``p`` of a mixed sample, which holds its nominal lambda already.

    One method per method. ``given`` says that lambda was given by the caller. ``which`` is set for
    a multi-mix: number of the interpolation, how many there are, and whose draws order them.
    """

    which = None

    def __init__(self, p, leaf, drawn, given, stream, identity):
        self.p, self.leaf, self.drawn, self.given = p, leaf, drawn, given
        self.stream, self.identity = stream, identity
        self.lam, self.sizes = float(p["lam"]), (int(p["height"]), int(p["width"]))
        self.pixels = int(p["depth"]) * self.sizes[0] * self.sizes[1]

    def uniform(self, purpose):
        """The first uniform of a purpose."""
        return self.stream.uniform(self.identity, purpose)

    def below(self, n, purpose, number):
        """An integer in [0, n)."""
        return self.stream.below(n, self.identity, purpose, number)

    def weigh(self, own, inside=0.0, outside=1.0):
        """Label weights, and the own weights of pixels in the box and around it."""
        self.p["weight"], self.p["inside"], self.p["outside"] = own, inside, outside
        self.p["partner_weight"] = np.float32(1) - self.p["weight"]

    def place(self, kind, share, sides=(None, None)):
        """Draws the box; returns its share of the pixels."""
        area = 1
        for number, (axis, n, side) in enumerate(zip("yx", self.sizes, sides, strict=True)):

            def start(m, number=number):
                return self.below(m, POSITION, number)

            low, high = box_interval(n, share, kind, start, side)
            self.p[axis + "0"], self.p[axis + "1"] = low, high
            area *= high - low
        return area / self.pixels

    def side(self, low, high):
        """A share of the image's side between these, in rising order of a multi-mix."""
        number, count, identity = self.which or (0, 1, self.identity)
        u = sorted(self.stream.uniform(identity, SIDES, j) for j in range(count))[number]
        return low + (high - low) * u

    def mixup(self):
        """Lambda everywhere; the weights of further sources are the drawn ones."""
        self.weigh(self.p["lam"], self.p["lam"], self.p["lam"])
        if self.leaf.n > 2:
            self.p["partner_weight"] = self.drawn["partner_weight"]
            self.p["extra_weight"] = self.drawn["extra_weight"]

    def cutmix(self):
        """A box of 1 - lambda of the area; the label weight is what it leaves."""
        if self.leaf.minmax is None:
            return self.weigh(1.0 - self.place(self.leaf.box, math.sqrt(1.0 - self.lam)))
        sides = []
        for number, n in enumerate(self.sizes):
            least, most = (math.floor(n * share) for share in self.leaf.minmax)
            sides.append(least + self.below(most - least + 1, SIDES, number))
        self.weigh(1.0 - self.place("minmax", None, sides))
        self.p["lam"] = self.p["weight"]

    def hmix(self):
        """A box of r of the partner's mass, and around it what makes the mean lambda."""
        r, lam, gamma = self.leaf.r, self.lam, self.leaf.gamma
        if gamma is not None:
            r = float(self.stream.dirichlet([gamma, gamma], self.identity, RATIO)[0])
        area = self.place(self.leaf.box, math.sqrt(1.0 - lam) * math.sqrt(r))
        rest = 1.0 - (area if self.leaf.mode == "exact" else (1.0 - lam) * r)
        exact = self.leaf.mode == "exact"
        self.weigh(
            min(lam, rest) if exact else lam, outside=min(lam / rest, 1.0) if rest > 0 else 0.0
        )

    def gmix(self):
        """A bump of the partner, or in the authors' code of the one with less weight."""
        lam, mode = self.lam, self.leaf.mode
        point = [self.below(n, POSITION, number) for number, n in enumerate(self.sizes)]
        self.p["point"] = 0, *point
        own = mode == "code" and lam < 0.5  # whose image the bump carries
        area = lam if own else 1.0 - lam
        if area == 0:
            return self.weigh(1.0 - own, 1.0 - own, 1.0 - own)
        if mode == "exact":
            falloff = falloff_of_mean(area, point, self.sizes)
        else:
            falloff = math.pi / (area * self.pixels) / (2 if mode == "paper" else 1)
        falloff = min(falloff, 3e38)
        self.p["falloff"] = 0, falloff, falloff
        mean = mean_of_bump(float(self.p["falloff"][1]), point, self.sizes)
        nominal = mode == "paper" or (mode == "exact" and falloff not in (0.0, NARROWEST))
        label = lam if nominal else mean if own else 1.0 - mean
        self.weigh(label, float(own), 1.0 - own)

    def fmix(self):
        """The number of own pixels, that of the ramped ones, and what makes the field."""
        lam, leaf, n = self.lam, self.leaf, self.pixels
        whole, u = math.floor(lam * n), self.uniform(ROUNDING)
        count = {
            "nearest": round(lam * n),
            "stochastic": whole + (u < lam * n - whole),
            "coin": whole + (u > 0.5 and lam * n > whole),
        }[leaf.rounding]
        soft = math.floor(n * min(leaf.max_soft, lam, 1.0 - lam))
        self.p["count"], self.p["soft"] = count, min(soft, count, n - count)
        word = self.stream.word(self.identity, FIELD, 0)
        self.p["field_seed"] = word % 2**32, word >> 32
        self.p["decay"], self.p["modes"] = leaf.decay, leaf.modes or 0
        self.p["flags"] = leaf.law == "legacy"
        self.weigh(1.0 if leaf.reformulate else count / n)

    def resizemix(self):
        """A box of tau of each side, shifted inside; pixels 1 / tau apart fill it."""
        area = 1
        tau = math.sqrt(1.0 - self.lam) if self.given else self.side(*self.leaf.tau)
        for number, (axis, n) in enumerate(zip("yx", self.sizes, strict=True)):
            side = math.floor(n * tau)
            first = self.below(n, POSITION, number) - side // 2
            first = min(max(first, 0), n - side)
            self.p[axis + "0"], self.p[axis + "1"] = first, first + side
            self.p["falloff"][1 + number] = 1.0 / tau if side > 0 else 1.0
            area *= side
        self.weigh(1.0 - area / self.pixels)
        if not self.given:
            self.p["lam"] = 1.0 - tau * tau

    def smoothmix(self):
        """A bump of the partner, as wide as is drawn, around any pixel."""
        point = [self.below(n, POSITION, number) for number, n in enumerate(self.sizes)]
        self.p["point"] = 0, *point
        if self.given:
            area = -math.log(self.lam) if self.lam > 0 else math.inf
        else:
            area = 2 * math.pi * self.side(*self.leaf.sigma) ** 2
            self.p["lam"] = math.exp(-area)
        if area == 0:
            return self.weigh(1.0, 1.0, 1.0)
        falloff = min(math.pi / (area * self.pixels), 3e38)
        self.p["falloff"] = 0, falloff, falloff
        self.weigh(1.0 - mean_of_bump(float(self.p["falloff"][1]), point, self.sizes))

    def saliencymix(self):
        """CutMix's box around ``peak``; one that does not fit is cut, shifted or wrapped."""
        self.p["point"] = 0, *self.peak
        kind, share, area = self.leaf.box, math.sqrt(1.0 - self.lam), 1
        for axis, n, at in zip("yx", self.sizes, map(int, self.peak), strict=True):
            side = math.floor(n * share) // 2 * 2 if kind == "clip" else round(n * share)
            low, high = at - side // 2, at - side // 2 + side
            if kind == "clip":
                low, high = max(low, 0), min(high, n)
            elif kind == "wrap":
                low, high = low % n, low % n + side
            elif low < 0:
                low, high = 0, side
            elif high > n:
                low, high = n - side, n
            self.p[axis + "0"], self.p[axis + "1"] = low, high
            area *= high - low
        self.weigh(1.0 - area / self.pixels)

    def puzzlemix(self):
        """A number of blocks, by the batch's ``first`` identity; labels are lambda's for a start.

        With masks of a fixed lambda they are so for good, and the record has the fixed one.
        """
        leaf = self.leaf
        u = self.stream.uniform(self.first, BLOCKS)
        self.p["modes"], self.p["soft"] = leaf.blocks[int(u * len(leaf.blocks))], leaf.levels - 1
        self.p["flags"] = 8 * leaf.transport + 16 * (leaf.prior_lam is not None)
        self.weigh(self.p["lam"] if leaf.prior_lam is None else self.drawn["weight"], 1.0)
        if leaf.prior_lam is not None:
            self.p["lam"] = leaf.prior_lam

    def cutout(self):
        """A square that is cut off at the border; only the own sample takes part."""
        half = self.leaf.length // 2
        sides = [(self.below(n, POSITION, k), n) for k, n in enumerate(self.sizes)]
        for axis, (centre, n) in zip("yx", sides, strict=True):
            self.p[axis + "0"], self.p[axis + "1"] = max(centre - half, 0), min(centre + half, n)
        self.p["sources"], self.p["lam"] = 1, 1
        self.p["inside"], self.p["outside"], self.p["weight"] = 0, 1, 1


def bump(falloff, point, size):
    """One axis of a Gaussian bump, float64."""
    return np.exp(-float(falloff) * (np.arange(size) - int(point)) ** 2)


def mean_of_bump(falloff, point, sizes):
    """Mean over the image of the product of the axes' bumps."""
    return math.prod(bump(falloff, at, n).mean() for at, n in zip(point, sizes, strict=True))


def falloff_of_mean(mean, point, sizes):
    """Falloff of the bump with this mean, by halving an interval; its ends where there is none."""
    low, high = 1e-12, NARROWEST
    if mean_of_bump(low, point, sizes) <= mean:
        return 0.0
    if mean_of_bump(high, point, sizes) >= mean:
        return high
    for _ in range(60):
        middle = math.sqrt(low * high)
        if mean_of_bump(middle, point, sizes) > mean:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)
