"""Every method of the table, through the DALI operators: the same bits as on arrays."""

import numpy as np
import pytest

import dali_msda as msda
from dali_msda.policy import POLICIES

pytest.importorskip("nvidia.dali")
from nvidia.dali import fn, pipeline_def

from dali_msda.dali import mix

BATCH, CLASSES, MEAN, STD = 9, 7, [100.0, 110.0, 120.0], 50.0
VARIANTS = [
    *(kind() for kind in POLICIES.values()),
    msda.Mixup(n=3),
    msda.CutMix(minmax=(0.3, 0.6)),
    msda.FMix(law="legacy", rounding="coin"),
    msda.FMix(max_soft=0.3, rounding="stochastic", modes=4),
    msda.FMix(reformulate=True, decay=1.7, scope="batch"),
    msda.HMix(gamma=0.3, box="wrap"),
    msda.HMix(mode="nominal", r=0.75),
    msda.GMix(mode="paper"),
    msda.GMix(mode="exact", scope="pair"),
    msda.ResizeMix(tau=(0.2, 0.4)),
    msda.SaliencyMix(box="wrap", scope="batch"),
    msda.Choice([msda.SaliencyMix(box="inside"), msda.Cutout()]),
    msda.Choice([msda.FMix(alpha=0.3), msda.CutMix(), msda.GMix()], weights=[3, 1, 2]),
    msda.Alternate([msda.Choice([msda.HMix(), msda.Mixup()]), msda.FMix(modes=5)], [1, 2]),
    *(msda.MultiMix(kind(), 3) for kind in POLICIES.values() if kind is not msda.Cutout),
    msda.MultiMix(msda.Choice([msda.FMix(scope="batch"), msda.CutMix(prob=0.5)]), 5, "batch"),
    msda.MultiMix(msda.FMix(max_soft=0.2, scope="pair"), 64),
    msda.LaMix(),
]


@pytest.fixture(scope="module")
def batch():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (BATCH, 37, 53, 3), dtype=np.uint8)
    return images, generator.integers(0, CLASSES, (BATCH, 1)).astype(np.int32)


@pytest.mark.parametrize("policy", VARIANTS, ids=str)
def test_the_operators_equal_the_array_functions(policy, batch):
    images, labels = batch
    mirror = np.arange(BATCH, dtype=np.int32) % 2

    @pipeline_def(batch_size=BATCH, num_threads=2, device_id=None, seed=1)
    def pipeline():
        pictures = fn.external_source(lambda: images, batch=True, layout="HWC")
        flags = fn.external_source(lambda: mirror.reshape(-1, 1), batch=True)
        return mix(
            pictures,
            fn.external_source(lambda: labels, batch=True),
            policy,
            num_classes=CLASSES,
            mean=MEAN,
            std=STD,
            mirror=fn.squeeze(flags, axes=0),
            seed=5,
            shard_id=2,
        )

    built = pipeline()
    built.build()
    for step in range(4):
        mixed, targets = (np.asarray(output.as_tensor()) for output in built.run())
        expected = msda.mix(
            images,
            labels.ravel(),
            policy,
            seed=5,
            step=step,
            rank=2,
            num_classes=CLASSES,
            mean=MEAN,
            std=STD,
            mirror=mirror,
            layout="CHW",
        )
        np.testing.assert_array_equal(mixed.view(np.uint32), expected[0].view(np.uint32))
        np.testing.assert_array_equal(targets, expected[1])
