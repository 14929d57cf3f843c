"""Counts what the GPU's kernels take, without a GPU: ``python -m tests.cuda.ptx.count``.

It prints bounds.py anew; arguments are the entry points that are counted, all if there are none.
"""

import argparse

import numpy as np
import pytest

import dali_msda as msda
from dali_msda import puzzle
from dali_msda.backends import cpu
from tests.cuda import emulation
from tests.cuda import kernel_arguments as cuda
from tests.cuda.emulation import Walled, launch, masks_at, walled
from tests.cuda.host_gpu import HostArray, install
from tests.cuda.ptx import bounds, library, resources
from tests.cuda.ptx.bounds import BOUNDS
from tests.cuda.ptx.cost import cost
from tests.cuda.test_cuda_emulated import (
    addresses,
    blend_launches,
    emulated_blend,
    emulated_fields,
    emulated_saliency,
)
from tests.methods.puzzle_batches import noise
from tests.support.batches import normalisation, random_images
from tests.support.doors import STORED
from tests.support.fmix_plans import fields_of, records

ARCHS = ("sm_90", "sm_120")
BATCH = 4
MULTIPROCESSORS = 132 * BATCH // 256  # so that launches are those of 256 images on an H200
BLENDS = {
    "mixup": msda.Mixup(partner="roll"),
    "cutmix": msda.CutMix(),
    "hmix": msda.HMix(),
    "gmix": msda.GMix(),
    "fmix": msda.FMix(),  # whose bits are given
    "mixup of 3": msda.Mixup(n=3),
    "resizemix": msda.ResizeMix(),
    "cutout": msda.Cutout(),
}
SIZES = {"224x224": (224, 224), "width 225": (224, 225), "32x32": (32, 32)}
SIZES_OF_OTHERS = {"224x224": SIZES["224x224"]}
# What every run of the tests counts; the others take long to compile.
OFTEN = (
    "msda_mask_float32",
    "msda_field_masks",
    "msda_saliency_uint8",
    "msda_saliency_float32",
    "msda_targets_dense_int64",
    "msda_targets_dense_int32",
    "msda_targets_dense_float32",
    "msda_targets_compact_int64",
    "msda_targets_compact_int32",
    "msda_blend_uint8_float16",
    "msda_blend_uint8_float32",
    "msda_puzzle_pool_float32",
    "msda_puzzle_masks",
    "msda_puzzle_blend_float32_float32",
)


def measured(entry, arch):
    """What an entry point takes on one kind of device, by name; see bounds.py."""
    kind = entry.split("_")[1]
    usage = resources.usage(library.cubin_of(library.source_of(entry), arch))[entry]
    threads, shared = 256, usage.shared
    if kind == "field":  # of 224 x 224
        how = _field_launch(arch)
        threads, shared = how.limit, shared + how.shared
    if kind == "saliency":
        threads = cpu.library().msda_saliency_threads(256, 224, 224)
    found = {"registers": usage.registers, "local": usage.local, "shared": usage.shared}
    found["warps"] = resources.warps(arch, usage.registers, shared, threads)
    counts = {"field": _field, "saliency": _saliency, "mask": _mask, "targets": _targets}
    counts["puzzle"] = _puzzle
    blends = {"blend": _blend, "pairs": _pairs, "values": _values}
    return found | (counts | blends)[kind](entry, arch)


def _blend(entry, arch):
    source, dtype = entry.split("_")[2:]
    found = {}
    for size, (height, width) in (SIZES if entry in OFTEN else SIZES_OF_OTHERS).items():
        for name, policy in BLENDS.items():
            images = random_images((BATCH, height, width, 3), source)
            plan = msda.draw(policy, BATCH, height, width, seed=3, step=0)
            taken = cost(library.code(arch), lambda: _blended(images, plan, dtype))[entry]  # noqa: B023
            made = plan.size * images[0].size * np.dtype(STORED[dtype]).itemsize
            found[f"{name}, {size}"] = 32 * taken.warps / made
            found[f"{name}, {size}, of threads"] = taken.threads / made
            if name in ("mixup", "resizemix") and size == "224x224":
                found |= _accesses(taken, made, f"{name}, {size}")
    return found


def _pairs(entry, arch):
    """Mixup in place of two images."""
    source = entry.split("_")[2]
    images = walled(random_images((2, 224, 224, 3), source))
    plan = msda.draw(msda.Mixup(), 2, 224, 224, seed=3, step=0)
    plan["partner"] = pairs = np.array([1, 0], np.int32)
    places, how = addresses(images.array), {"chw": 0, "pairs": pairs}

    def blend():
        for name, b, grid, block in blend_launches(
            places, places, plan, (224, 224, 3), (source, source), **how
        ):
            launch(name, b, grid, block)

    made = images.array.nbytes
    return {"mixup, 224x224": 32 * cost(library.code(arch), blend)[entry].warps / made}


def _values(entry, arch):
    """Images of four channels are made value by value."""
    source, dtype = entry.split("_")[2:]
    images = random_images((1, 224, 224, 4), source)
    plan = msda.draw(msda.Mixup(), 1, 224, 224, seed=3, step=0)
    how = {"watch": False, "block": 256}
    run = cost(library.code(arch), lambda: emulated_blend(images, plan, dtype, "CHW", **how))
    made = images.size * np.dtype(STORED[dtype]).itemsize
    return {"mixup of 4 channels, 224x224": 32 * run[entry].warps / made}


def _blended(images, plan, dtype):
    options = {}
    if dtype != "uint8":
        chosen = normalisation(3, "mean and std")
        options = {"scale": np.float32(1 / chosen["std"])}
        options["shift"] = np.float32(-chosen["mean"] / chosen["std"])
    options["multiprocessors"] = MULTIPROCESSORS
    emulated_blend(images, plan, dtype, "CHW", watch=False, **options)


def _accesses(taken, made, of):
    """Loads and stores of threads for each KiB of output, by their width in bytes."""
    each = sorted(taken.accesses.items())
    return {f"{how} {width} bytes, {of}": 1024 * n / made for (how, width), n in each}


def _field(entry, arch):
    plan = records(2, (1, 224, 224), lam=[0.3, 0.7])
    amplitudes = np.empty(224 * 113 + 1, np.float32)
    cuda.library().msda_amplitudes(amplitudes.ctypes.data, plan.ctypes.data)
    launched = _field_launch(arch)
    how = {"blocks": 2, "threads": launched.limit, "in_shared": bool(launched.in_shared)}
    how |= {"order": "forwards", "amplitudes": amplitudes}
    taken = cost(library.code(arch), lambda: emulated_fields(plan, **how))[entry]
    return {"a field of 224x224": taken.warps / 2}


def _saliency(entry, arch):
    images = random_images((1, 224, 224, 3), entry.split("_")[2])
    threads = cpu.library().msda_saliency_threads(256, 224, 224)
    how = {"blocks": 1, "threads": threads, "order": "forwards"}
    flags = np.zeros(1, np.uint8)
    taken = cost(library.code(arch), lambda: emulated_saliency(images, flags, **how))[entry]
    return {"an image of 224x224": taken.warps}


def _mask(entry, arch):
    plan = msda.draw(msda.FMix(), BATCH, 224, 224, seed=3, step=0)
    out, memory = Walled((BATCH, 224, 224), np.float32), walled(plan.view(np.uint8))
    bits = walled(fields_of(plan))
    m = cuda.Mask(out.address, masks_at(bits.array), memory.address, BATCH, 224, 224)
    taken = cost(library.code(arch), lambda: launch(entry, m, (196, BATCH), 256))[entry]
    made = out.array.nbytes
    return {"fmix, 224x224": 32 * taken.warps / made, **_accesses(taken, made, "fmix, 224x224")}


def _targets(entry, arch):
    _, _, form, kind = entry.split("_")
    batch, classes = 64, 1000
    plan = msda.draw(msda.Mixup(), batch, 4, 4, seed=3, step=0)
    labels = walled(np.zeros((batch, classes) if kind == "float32" else batch, kind))
    rows, memory = Walled((batch, classes), np.float32), walled(plan.view(np.uint8))
    indices, weights = Walled((batch, 4), np.int64), Walled((batch, 4), np.float32)
    t = cuda.Targets(rows.address, indices.address, weights.address, labels.address)
    t.plans, t.batch, t.classes = memory.address, batch, classes
    dense = form == "dense"
    items = batch * (classes if dense else 4)
    taken = cost(library.code(arch), lambda: launch(entry, t, (-(-items // 256), 1), 256))[entry]
    made = rows.array.nbytes if dense else indices.array.nbytes + weights.array.nbytes
    return {"1000 classes" if dense else "4 labels": 32 * taken.warps / made}


def _puzzle(entry, arch):
    """Puzzle Mix of a batch in 16 x 16 blocks, as the host launches it."""
    kind, *types = entry.split("_")[2:]
    source, dtype = types if kind == "blend" else (types or ["float32"]) * 2
    images, maps = noise(np.random.default_rng(0), BATCH, 224, 224)
    images = images if source == "float32" else np.uint8(255 * images)
    plan = msda.draw(msda.Mixup(), BATCH, 224, 224, seed=3, step=0)
    settings = puzzle.PuzzleSettings(cell=2)

    def run():
        with pytest.MonkeyPatch.context() as patched:
            install(patched).replace(entry, emulation.library())
            how = {"blocks": 16, "settings": settings}
            found = puzzle.solve(HostArray(images), HostArray(maps), plan, **how)
            puzzle.blend(HostArray(images), found, dtype=dtype)
            labels = HostArray(np.zeros(BATCH, np.int64))
            msda.targets(labels, plan, num_classes=10, weights=found.weights)

    taken = cost(library.code(arch), run)[entry]
    if kind != "blend":
        return {f"{kind}, 224x224": taken.warps / BATCH}
    made = BATCH * images[0].size * np.dtype(STORED[dtype]).itemsize
    return {"224x224": 32 * taken.warps / made, **_accesses(taken, made, "224x224")}


def _field_launch(arch):
    """How fields of 224 x 224 are launched where a batch has many."""
    return cuda.field_launch((1, 224, 224), 256, most_shared=resources.LIMITS[arch][1] - 1024)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("entries", nargs="*", metavar="ENTRY", default=list(BOUNDS))
    chosen = parser.parse_args().entries
    table = dict(BOUNDS)
    for entry in chosen:
        both = [measured(entry, arch) for arch in ARCHS]
        names = dict.fromkeys([*both[0], *both[1]])
        table[entry] = {name: tuple(row.get(name) for row in both) for name in names}
    print(bounds.__doc__.join(['"""', '"""']))
    print("\nBOUNDS = {")
    for entry, rows in table.items():
        print(f'    "{entry}": {{')
        for name, values in rows.items():
            print(f'        "{name}": ({", ".join(map(_text, values))}),')
        print("    },")
    print("}")


def _text(value):
    return (
        f"{value:.4g}" if isinstance(value, float) and value < 1e4 else str(value and round(value))
    )


if __name__ == "__main__":
    main()
