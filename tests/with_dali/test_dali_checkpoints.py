"""A pipeline restored in mid-epoch goes on with the very same batches."""

import numpy as np
import pytest
from nvidia.dali import fn

import dali_msda as msda
from dali_msda import dali
from tests.with_dali.dali_pipelines import (
    CLASSES,
    arrays,
    assert_same,
    build,
    read,
    write_photographs,
)

POLICY = msda.Alternate([msda.Choice([msda.CutMix(), msda.Mixup()]), msda.Mixup(n=3)], (2, 1))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("photographs"))


def pipeline(root, prefetch, policy=POLICY, **kwargs):
    def define():
        images, labels = read(root, random_shuffle=True, pad_last_batch=True)
        mirror = fn.random.coin_flip()
        mixed, targets = dali.mix(images, labels, policy, num_classes=CLASSES, mirror=mirror)
        return mixed, targets, dali.plan(images, policy, shard_id=1)

    return build(define, 4, prefetch_queue_depth=prefetch, enable_checkpointing=True, **kwargs)


def batches(running, count):
    return [arrays(running.run()) for _ in range(count)]


@pytest.mark.parametrize("done", [0, 1, 4, 6, 8])
@pytest.mark.parametrize("prefetch", [1, 2, 5])
def test_a_restored_pipeline_goes_on(photographs, prefetch, done):
    """An epoch has 6 batches: some checkpoints lie in it, at its end or in the next one."""
    running = pipeline(photographs, prefetch)
    batches(running, done)
    checkpoint = running.checkpoint()
    want = batches(running, 9)
    restored = pipeline(photographs, prefetch, checkpoint=checkpoint)
    assert_same(batches(restored, 9), want)
    plans = [plan.tobytes() for *_, plan in want]
    assert len(set(plans)) == 9


@pytest.mark.parametrize("policy", [msda.MultiMix(msda.FMix(), 3), msda.LaMix()], ids=str)
def test_a_restored_multimix_goes_on(photographs, policy):
    running = pipeline(photographs, 2, policy)
    batches(running, 5)
    restored = pipeline(photographs, 2, policy, checkpoint=running.checkpoint())
    assert_same(batches(restored, 4), batches(running, 4))


def test_prefetch_does_not_change_the_batches(photographs):
    one, five = (batches(pipeline(photographs, prefetch), 9) for prefetch in (1, 5))
    assert_same(one, five)


def test_a_restored_pipeline_can_be_saved_again(photographs):
    running = pipeline(photographs, 2)
    batches(running, 3)
    second = pipeline(photographs, 2, checkpoint=running.checkpoint())
    batches(second, 3)
    third = pipeline(photographs, 2, checkpoint=second.checkpoint())
    batches(running, 3)
    assert_same(batches(third, 4), batches(running, 4))


def test_reset_goes_on_drawing(photographs):
    """A new epoch brings new draws."""
    running = pipeline(photographs, 1)
    first = batches(running, 6)
    running.reset()
    second = batches(running, 6)
    for (*_, old), (*_, new) in zip(first, second, strict=True):
        assert not np.array_equal(old, new)


def test_a_foreign_checkpoint_is_refused(photographs):
    """The state of a generator of random numbers is no number of batches."""
    running = pipeline(photographs, 2)
    batches(running, 4)
    checkpoint = running.checkpoint()
    assert b"4" in checkpoint
    spoilt = checkpoint.replace(b"\x12\x014", b"\x12\x01x")
    assert spoilt != checkpoint
    with pytest.raises(RuntimeError, match='expected a number of batches, got "x"; it belongs to'):
        batches(pipeline(photographs, 2, checkpoint=spoilt), 1)
