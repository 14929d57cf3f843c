"""The blend alone: bytes per second against a plain copy, the most any backend could reach.

CutMix, FMix and their like read one source per output pixel, and the others read two; all write
one. (On a GPU, whose cache holds most of a batch, each byte of the input counts once for all
methods.) ``share`` is the blend's bytes per second over those of a plain copy on as many threads in
the same run, so 1.0 is the best possible. FMix comes with its bits made, and they count among the
bytes that are read; fields.py measures their making. Output memory is warm and reused: the page
faults of a fresh batch of 154 MB take several times as long as the kernel, which is why ``out=``
exists. On one thread CPU time counts, on several wall time. ``writes`` is the writing of the output
alone. A copy reads as much as it writes, while a blend to float32 writes two to four times what it
reads, so that it gets less from machines that write slower than they read.

On a GPU the copy of the plan to the device is counted with the blend. ``with masks`` is the call
that a user writes, which makes the bits of FMix on the way; without it they are there already.

What was found on one core of an Intel Xeon (AVX-512): each change took turns with the code before
it, after a copy that left nothing of the batch in the caches. Figures say how many times as fast it
became.

- Cache lines that are written past the caches must be whole, or they are written twice (float16 of
  Cutout and CutMix 1.4, float32 with AVX2 1.5).
- Partners that follow each other are read once (1.1).
- The machine's prefetcher stops at pages and gets lost in boxes. So what is new of a partner is
  prefetched 4 KiB ahead, line by line (float16: Mixup, CutMix, FMix and Cutout 1.2; ResizeMix,
  which prefetches the rows that it needs, 1.25). To prefetch all lines of a block at once gained
  half of that and cost float32 4 %. GCC drops a function that only prefetches, so a test looks for
  these instructions in the machine code.
- Products of weights next to zero are subnormal, at a hundred times the cost. GMix drops them where
  no bit of the output shows it (1.15).
- Three sources, the pixels of ResizeMix and the zeros of Cutout stay in registers (1.8, 1.6, 1.5);
  bytes of FMix are chosen by bits, not computed (uint8 2, with AVX2 2.8).

What was found in the same way on one core of an AMD EPYC (AVX-512 with VBMI):

- With VBMI, a colour of 16 pixels is one permutation of the bytes of a vector that one masked load
  fills (float16 1.05 to 1.15). Three sources, unrolled, gained 1.12 more.
- ResizeMix waited for memory. Its partner's rows were prefetched too late, whether one block ahead
  or six, at once or one by one. Now they are read in order while the image before is mixed, which
  brings them into the second-level cache in time (float16 1.08, float32 1.06), and into the
  first-level one a block before they are needed (1.05). Its pixels are picked out of two or four
  vectors (1.03 to 1.07). In all float16 gained 1.3 and float32 1.18; with AVX2, which has no such
  permutation, 1.08.
- On two cores float32 is bound by writes. That machine writes 25 GB/s, while the two directions of
  a copy make 40 GB/s together: see ``writes``.
- So is float16 of FMix there: writing its output alone takes 0.97 to 1.01 of its time, which is
  0.87 of a copy. ResizeMix takes 0.76 to 0.80 of a copy. It reads rows of its partner whole, but
  ``moved_mb`` counts only the pixels that it keeps: 7 % of its bytes are missing there. Writing
  alone takes 0.88 of its time on two cores, so that more than 0.88 of a copy is out of reach, and
  0.64 on one.

Where the blend still falls short of a copy, instructions bound it, not bytes: some thirty for each
16 pixels of two sources, on the two ports that have vectors, whatever the output's type. So
float16, of half the bytes, is further from its copy than float32, and more so where others use the
other half of the core: the same case has shown 70 and 85 % within an hour. FMix reads both images
everywhere, because to skip one where 16 bits are equal cost more in branches than it saved.
"""

import numpy as np

import dali_msda as msda
from bench.cases import Job, clock_for
from bench.memory import memory_of, normalisation, pixels
from dali_msda.backends import cpu, cuda, cuda_arrays
from dali_msda.backends.cpu_arrays import scale_and_shift

POLICIES = {
    "mixup": msda.Mixup(),
    "cutmix": msda.CutMix(),
    "fmix": msda.FMix(),
    "hmix": msda.HMix(),
    "gmix": msda.GMix(),
    "resizemix": msda.ResizeMix(),
    "cutout": msda.Cutout(),
    "mixup3": msda.Mixup(n=3),
}
READS = {"mixup": 2, "hmix": 2, "gmix": 2, "mixup3": 3}  # sources of a pixel; others read one
METHODS = tuple(POLICIES)
CHANNELS = 3

COMMON = {"mirror": False, "threads": (1, "all")}
CUDA = {"device": "cuda", "mirror": False, "threads": 0}
FLOATS = {"dtype": ("float32", "float16"), "layout": "CHW"}
BYTES = {"dtype": "uint8", "layout": "HWC"}
LARGE = {"batch": 256, "size": 224}
TABLES = {
    "quick": [
        {"method": ("mixup", "cutmix", "fmix"), **FLOATS, **LARGE, **COMMON},
        {"method": ("mixup", "cutmix", "fmix"), "dtype": "float16", "layout": "CHW"} | LARGE | CUDA,
    ],
    "default": [
        {"method": METHODS, **outputs, **LARGE, **where}
        for outputs in (FLOATS, BYTES)
        for where in (COMMON, CUDA)
    ]
    + [{"method": "mixup", **FLOATS, "batch": 64, "size": (32, 64, 160, 224, 352), **COMMON}],
    "all": [
        {"method": METHODS, **outputs, "batch": (64, 256), "size": (32, 64, 160, 224, 352), **where}
        for outputs in (FLOATS, {**FLOATS, "layout": "HWC"}, BYTES)
        for where in (COMMON | {"mirror": (False, True)}, CUDA | {"mirror": (False, True)})
    ]
    + [{"method": METHODS, "dtype": "bfloat16", "layout": "CHW", **LARGE, **CUDA}],
}


def prepare(case: dict[str, object]) -> Job:
    """The blend of a batch with a plan that is drawn, into warm memory."""
    method, batch, size, dtype = (case[name] for name in ("method", "batch", "size", "dtype"))
    memory, source = memory_of(case["device"]), pixels(batch, size, size, CHANNELS)
    images = memory.put(source)
    plan = msda.draw(POLICIES[method], batch, size, size, seed=0, step=0)
    options = {"layout": case["layout"], **normalisation(dtype)}
    channels_last = case["layout"] == "HWC"
    shape = (batch, size, size, CHANNELS) if channels_last else (batch, CHANNELS, size, size)
    out = memory.empty(shape, dtype)
    width = {"uint8": 1, "float32": 4}.get(dtype, 2)
    reads = READS.get(method, 1) if case["device"] == "cpu" else 1
    moved = source.size * (reads + width)
    flags = pixels(batch) % 2 if case["mirror"] else None
    threads = case["threads"]
    runs = {method: blending(images, plan, out, options, flags, threads)}
    if method == "fmix":
        moved += -(-size * size // 32) * 4 * batch
        if case["device"] == "cuda":
            runs["with masks"] = runs[method]
            runs[method] = with_bits_there(memory, images, plan, out, options, flags)
        else:
            runs[method] = with_bits(source, plan, out, options, flags, threads)
    if case["device"] == "cpu":
        runs["writes"] = memory.write(out.nbytes, threads)
    return Job(runs, moved, batch, "images", threads=threads, clock=clock_for(threads))


def blending(images, plan, out, options, mirror, threads):
    """The call that a user writes."""
    return lambda: msda.blend(images, plan, out=out, mirror=mirror, threads=threads, **options)


def with_bits(images, plan, out, options, mirror, threads):
    """The same call, with the masks of FMix made before."""
    how = backend_options(options, mirror) | {"fields": made_bits(plan), "threads": threads}
    return lambda: cpu.blend(out, images, plan, **how)


def with_bits_there(memory, images, plan, out, options, mirror):
    """The same as :func:`with_bits`, on a GPU."""
    given = {"out": out, "images": images, "fields": memory.put(made_bits(plan).view(np.int32))}
    views = [cuda_arrays.view(name, array) for name, array in given.items()]
    how = backend_options(options, mirror) | {"fields": views[2]}
    return lambda: cuda.blend(*views[:2], plan, **how)


def made_bits(plan):
    """The masks of a plan of FMix, a row of bits each."""
    bits = np.empty((len(plan), -(-int(plan["height"][0] * plan["width"][0]) // 32)), np.uint32)
    cpu.fields(bits, plan)
    return bits


def backend_options(options, mirror):
    """The arguments of a backend that stand for the options of a call."""
    scale, shift = scale_and_shift(options.get("mean"), options.get("std"), CHANNELS)
    how = {"scale": scale, "shift": shift, "mirror": mirror}
    return how | {"layout": options["layout"], "out_dtype": options["dtype"]}
