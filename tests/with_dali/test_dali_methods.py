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


@pytest.mark.parametrize(
    "arguments, policy",
    [
        (dict(method="hmix", r=0.75, mode="nominal"), msda.HMix(r=0.75, mode="nominal")),
        (dict(method="gmix", mode="exact"), msda.GMix(mode="exact")),
        (
            dict(method=["fmix", "cutout"], decay=2.5, max_soft=0.25, length=8, stage=[0, 1]),
            msda.Alternate([msda.FMix(decay=2.5, max_soft=0.25), msda.Cutout(length=8)]),
        ),
        (dict(method="resizemix", tau=[0.25, 0.5]), msda.ResizeMix(tau=(0.25, 0.5))),
        (dict(method="fmix", interpolations=4), msda.MultiMix(msda.FMix(), 4)),
        (
            dict(method="cutmix", interpolations=2, share_lam=True),
            msda.MultiMix(msda.CutMix(), 2, "batch"),
        ),
        (
            dict(method="mixup", mode="average", prob=[0.0, 1.0], stage=[0, 1]),
            msda.LaMix(),
        ),
    ],
    ids=["hmix", "gmix", "fmix, cutout", "resizemix", "multi-mix", "shared lambdas", "lamix"],
)
def test_settings_by_name(arguments, policy, batch):
    """Without a policy object; the numbers here are exact in float32."""

    @pipeline_def(batch_size=BATCH, num_threads=1, device_id=None, seed=1)
    def pipeline():
        pictures = fn.external_source(lambda: batch[0], batch=True, layout="HWC")
        return fn.msda.plan(pictures, seed=5, **arguments)

    built = pipeline()
    built.build()
    for step in range(2):
        (plans,) = built.run()
        expected = msda.draw(policy, BATCH, 37, 53, seed=5, step=step)
        np.testing.assert_array_equal(
            np.asarray(plans.as_tensor()).view(msda.PLAN_DTYPE)[..., 0], expected
        )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(method="hmix", r=1.5), r"r\[0\]: expected a value in \[0, 1\], got 1.5"),
        (dict(method="hmix", gamma=-1.0), r"gamma\[0\]: expected"),
        (dict(method="hmix", mode="code"), 'mode: expected one of .*"nominal", got "code"'),
        (dict(method="cutmix", mode="exact"), "mode: expected"),
        (dict(method="fmix", decay=-1.0), r"decay\[0\]: expected a value in \[0, 10\], got -1"),
        (dict(method="fmix", max_soft=0.7), r"max_soft\[0\]: expected"),
        (dict(method="fmix", rounding="up"), 'rounding: expected one of .*got "up"'),
        (dict(method="fmix", reformulate=2), r"reformulate\[0\]: expected 0 or 1, got 2"),
        (dict(method="fmix", modes=-1), r"modes\[0\]: expected at least 0"),
        (dict(method="resizemix", tau=[0.5, 0.2]), r"tau\[0\]: expected 0 < low <= high"),
        (dict(method="mixup", mode="average", sources=3), r"mode\[0\]: expected \"plain\" with 3"),
        (dict(method="mixup", interpolations=0), "interpolations: expected 1 to 64, got 0"),
        (dict(method="mixup", interpolations=65), "interpolations: expected 1 to 64, got 65"),
        (dict(method="mixup", interpolations=2, sources=3), "interpolations: expected 1 with leaf"),
        (dict(method="cutout", interpolations=2), "interpolations: expected 1 with leaf 0, got 2"),
        (dict(method="cutmix", box="minmax", interpolations=2), "interpolations: expected 1 with"),
        (dict(method="cutout", length=0), r"length\[0\]: expected at least 1 pixel, got 0"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_out_of_range(arguments, message, batch):
    @pipeline_def(batch_size=BATCH, num_threads=1, device_id=None)
    def pipeline():
        return fn.msda.plan(fn.external_source(lambda: batch[0], batch=True), **arguments)

    with pytest.raises(RuntimeError, match=message):
        pipeline().build()
