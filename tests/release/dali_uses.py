"""Uses each operator of the installed package in the installed DALI, on the CPU, and checks it.

    python dali_uses.py USE ...

It needs nothing but the package, NumPy and DALI. Each use is compared, bit by bit, with the verbs
for arrays, which need no DALI. It prints a line of JSON: for each use "yes", "needs a GPU"
where all of DALI's own dynamic mode does, or what was said.
"""

import json
import sys

import numpy as np
from nvidia.dali import Pipeline, fn

import dali_msda as msda
from dali_msda import dali

BATCH, HEIGHT, WIDTH, CLASSES, SEED = 6, 17, 23, 5, 7
POLICY = msda.Choice([msda.CutMix(), msda.FMix(), msda.Mixup(n=3), msda.SaliencyMix()])
NORMAL = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
NUMBERS = np.random.default_rng(0)
IMAGES = NUMBERS.integers(0, 256, (BATCH, HEIGHT, WIDTH, 3), np.uint8)
LABELS = NUMBERS.integers(0, CLASSES, BATCH)
MIRROR = NUMBERS.integers(0, 2, BATCH)


def expected(step):
    """Plan, images and targets of one batch, by the verbs for arrays."""
    peaks = msda.saliency(IMAGES, mirror=MIRROR)
    plan = msda.draw(POLICY, BATCH, HEIGHT, WIDTH, seed=SEED, step=step, peaks=peaks)
    images = msda.blend(IMAGES, plan, mirror=MIRROR, dtype="float32", layout="CHW", **NORMAL)
    return plan, images, msda.targets(LABELS, plan, num_classes=CLASSES)


def node(array, **options):
    """A batch that stays the same, as a node of a pipeline."""
    return fn.external_source(lambda: [np.array(sample) for sample in array], batch=True, **options)


def nodes():
    """Images, labels and flags."""
    return node(IMAGES, layout="HWC"), node(LABELS), node(MIRROR)


def pipeline(define, **options):
    """A pipeline of what ``define(images, labels, mirror)`` returns."""
    made = Pipeline(batch_size=BATCH, num_threads=2, device_id=None, seed=SEED, **options)
    with made:
        made.set_outputs(*define(*nodes()))
    made.build()
    return made


def mixed(images, labels, mirror):
    """The three verbs."""
    plans = dali.plan(images, POLICY, seed=SEED, mirror=mirror)
    blended = dali.blend(images, plans, mirror=mirror, **NORMAL)
    return plans, blended, fn.msda.targets(labels, plans, num_classes=CLASSES)


def batch_of(made):
    """Arrays of the next batch, plans as records."""
    plans, *others = (np.array(output.as_cpu().as_array()) for output in made.run())
    return plans.view(msda.PLAN_DTYPE)[:, 0], *others


def compare(got, want):
    """Raises unless arrays hold the same bits."""
    for mine, theirs in zip(got, want, strict=True):
        assert mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes(), "other bits"


def verb(number):
    """A use: one of the three outputs, in three batches."""

    def use():
        made = pipeline(mixed)
        for step in range(3):
            compare([batch_of(made)[number]], [expected(step)[number]])

    return use


def mix():
    """All of it in one call, and compact targets."""
    options = dict(seed=SEED, compact=True)
    made = pipeline(lambda images, labels, _: dali.mix(images, labels, msda.CutMix(), **options))
    images, classes, weights = (np.array(out.as_cpu().as_array()) for out in made.run())
    plan = msda.draw(msda.CutMix(), BATCH, HEIGHT, WIDTH, seed=SEED, step=0)
    want = msda.targets(LABELS, plan, compact=True)
    blended = msda.blend(IMAGES, plan, dtype="float32", layout="CHW")
    compare([images, classes, weights], [blended, *want])


def checkpoint():
    """A restored pipeline goes on where the saved one was."""
    options = dict(enable_checkpointing=True)

    def define(*_):
        size = fn.random.uniform(range=[0, 1])  # a source that has a checkpoint
        images = fn.cast(fn.stack(*[size] * 3), dtype=dali.verbs.types.UINT8)
        images = fn.resize(fn.reshape(images, shape=[1, 1, 3], layout="HWC"), size=[9, 9])
        return (dali.plan(images, msda.CutMix(), seed=SEED),)

    saved = pipeline(define, **options)
    for _ in range(3):
        saved.run()
    restored = pipeline(define, checkpoint=saved.checkpoint(), **options)
    plan = np.array(restored.run()[0].as_array()).view(msda.PLAN_DTYPE)[:, 0]
    compare([plan], [msda.draw(msda.CutMix(), BATCH, 9, 9, seed=SEED, step=3)])


def serialisation():
    """A pipeline that was written and read again draws and mixes the same."""

    def define(*_):
        images = fn.resize(fn.cast(fn.random.coin_flip(shape=[5, 5, 3]) * 255, dtype=UINT8), size=9)
        return mixed(fn.reshape(images, layout="HWC"), np.int64(1), np.int32(1))

    UINT8 = dali.verbs.types.UINT8
    made = pipeline(define)
    read = Pipeline.deserialize(made.serialize())
    for _ in range(2):
        compare(batch_of(read), batch_of(made))


def conditions():
    """In a branch, the samples of that branch are mixed among themselves."""
    from nvidia.dali import pipeline_def

    @pipeline_def(enable_conditionals=True)
    def define():
        images, labels, flags = nodes()
        if flags:
            mixed, _ = dali.mix(images, labels, msda.CutMix(), num_classes=CLASSES, seed=SEED)
        else:
            mixed = fn.crop_mirror_normalize(images)
        return mixed

    made = define(batch_size=BATCH, num_threads=2, device_id=None, seed=SEED)
    made.build()
    (got,) = (np.array(output.as_cpu().as_array()) for output in made.run())
    flags = MIRROR.astype(bool)
    plan = msda.draw(msda.CutMix(), int(flags.sum()), HEIGHT, WIDTH, seed=SEED, step=0)
    want = msda.blend(IMAGES[flags], plan, dtype="float32", layout="CHW")
    compare([got[flags], got[~flags]], [want, IMAGES[~flags].transpose(0, 3, 1, 2) / np.float32(1)])


class NeedsGpu(Exception):
    """DALI itself cannot do it without a GPU."""


def dynamic():
    """Dynamic mode: what was drawn is what was mixed."""
    import nvidia.dali.experimental.dynamic as ndd

    def array(batch):
        return np.array(ndd.as_tensor(batch).cpu())

    images, labels = ndd.as_batch(list(IMAGES), layout="HWC"), ndd.as_batch(list(LABELS))
    try:
        array(ndd.resize(images, size=[4, 4]))
    except RuntimeError as error:
        raise NeedsGpu from error
    plans = dali.plan(images, msda.CutMix(), rng=ndd.random.RNG(1))
    options = dict(num_classes=CLASSES, layout="HWC", dtype="uint8", rng=ndd.random.RNG(1))
    blended, targets = dali.mix(images, labels, msda.CutMix(), **options)
    plan = array(plans).view(msda.PLAN_DTYPE)[:, 0]
    want = msda.blend(IMAGES, plan), msda.targets(LABELS, plan, num_classes=CLASSES)
    compare([array(blended), array(targets)], want)


USES = {
    "plan": verb(0),
    "blend": verb(1),
    "targets": verb(2),
    "mix": mix,
    "checkpoint": checkpoint,
    "serialisation": serialisation,
    "conditions": conditions,
    "dynamic": dynamic,
}


def main(names):
    """Prints what becomes of each use."""
    said = {}
    for name in names or USES:
        try:
            USES[name]()
            said[name] = "yes"
        except NeedsGpu:
            said[name] = "needs a GPU"
        except Exception as error:
            said[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1:])
