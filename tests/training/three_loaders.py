"""What test_three_loaders.py and its case for FFCV share: settings, and nothing of a framework."""

import dali_msda as msda

BATCH, SIZE, CLASSES, EPOCHS, SEED = 16, (26, 31), 16, 3, 2**40 + 7
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
# Policy and type of the images.
CASES = [
    (msda.CutMix(), "float32"),
    (msda.Mixup(n=3), "float16"),
    (msda.FMix(max_soft=0.3), "float32"),
    (msda.HMix(), "float16"),
    (msda.GMix(), "float32"),
    (msda.ResizeMix(), "float32"),
    (msda.SaliencyMix(), "float32"),
    (msda.Choice([msda.CutMix(scope="batch"), msda.Mixup(alpha=0.2)]), "float16"),
    (msda.Alternate([msda.CutMix(), msda.FMix()]), "float32"),
    (msda.MultiMix(msda.CutMix(), k=3), "float32"),
]
# For the loaders of pipelines/: squares, from which crops of the whole area take all.
SIDE = 24
LOADER_CASES = [
    dict(policy=msda.CutMix()),
    dict(policy=msda.Alternate([msda.FMix(), msda.Mixup(n=3)]), channels_last=True),
    dict(policy=msda.SaliencyMix(), dtype="float16", compact=False),
    dict(policy=msda.MultiMix(msda.Mixup(), k=2), copies=2, compact=False),
    dict(policy=None),
]


def options(case, rank):
    """Arguments of a training loader."""
    return dict(
        batch_size=5,
        size=SIDE,
        min_area=1.0,
        seed=SEED % 2**31,
        shard_id=rank,
        num_shards=2,
        threads=2,
        **case,
    )
