"""The drop-ins beside what they stand in for, with our lambdas and boxes put into theirs."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

import dali_msda as msda
from dali_msda.torch.torchvision_cpu import declare_operators
from tests.support.loader_workers import raises_in_worker

declare_operators()
timm_mixup = pytest.importorskip("timm.data.mixup")
v2 = pytest.importorskip("torchvision.transforms.v2")
from torchvision import tv_tensors  # noqa: E402

from dali_msda.timm import Mixup  # noqa: E402
from dali_msda.torchvision import CutMix, MixUp  # noqa: E402

BATCH, HEIGHT, WIDTH, CLASSES = 6, 13, 18, 5
IMAGES = torch.rand(BATCH, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 4, 4, 2, 1, 0])  # equal ones meet, by flip and by roll
ROWS = torch.rand(BATCH, CLASSES, generator=torch.Generator().manual_seed(1)).round()
LAST = dict(memory_format=torch.channels_last)


def as_timm_draws(plan, theirs, monkeypatch):
    """Put a plan's lambdas and boxes into timm's generator, in the order in which it asks."""
    units = {"batch": 1, "pair": len(plan) // 2, "elem": len(plan)}[theirs.mode]
    records = plan[:units]
    lam = np.where(records["method"] == 0, 1.0, records["lam"])
    boxed = records["method"] == 2
    monkeypatch.setattr(theirs, "_params_per_batch", lambda: (float(lam[0]), bool(boxed[0])))
    monkeypatch.setattr(theirs, "_params_per_elem", lambda n: (lam.astype(np.float32), boxed))
    boxes = iter([tuple(map(int, r[["y0", "y1", "x0", "x1"]])) for r in records[boxed]])
    for name in ("rand_bbox", "rand_bbox_minmax"):
        monkeypatch.setattr(timm_mixup, name, lambda *_, **__: next(boxes))


SETTINGS = [
    dict(mixup_alpha=0.8),
    dict(mixup_alpha=0.0, cutmix_alpha=1.0),
    dict(mixup_alpha=0.0, cutmix_alpha=1.0, correct_lam=False),
    dict(mixup_alpha=0.8, cutmix_alpha=1.0, switch_prob=0.4, prob=0.8),
    dict(mixup_alpha=0.0, cutmix_minmax=(0.3, 0.8), correct_lam=False),
    dict(mixup_alpha=0.5, cutmix_minmax=(0.2, 0.6), label_smoothing=0.0),
    dict(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.2),
]


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("multi_label", [False, True])
def test_timm_with_our_draws(monkeypatch, mode, settings, multi_label):
    how = settings | dict(mode=mode, num_classes=CLASSES, multi_label=multi_label)
    ours, theirs = Mixup(**how, seed=3), timm_mixup.Mixup(**how)
    target = ROWS if multi_label else LABELS
    mixed = set()
    for step in range(12):
        plan = ours.plan(BATCH, HEIGHT, WIDTH)
        mixed |= set(plan["method"].tolist())
        for order in ({}, LAST):
            as_timm_draws(plan, theirs, monkeypatch)
            ours._key.step = step
            x, x_theirs = (IMAGES.clone(**order).contiguous(**order) for _ in "ab")
            got, rows = ours(x, target)
            want, rows_theirs = theirs(x_theirs, target)
            assert got is x and want is x_theirs
            torch.testing.assert_close(got, want, rtol=1e-6, atol=2e-7)
            assert rows.dtype == rows_theirs.dtype and rows.shape == rows_theirs.shape
            torch.testing.assert_close(rows, rows_theirs, rtol=1e-6, atol=2e-7)
    active = {1} if settings["mixup_alpha"] > 0 else set()
    active |= {2} if {"cutmix_alpha", "cutmix_minmax"} & settings.keys() else set()
    assert mixed - {0} == active


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
def test_other_types_are_mixed_in_place_as_well(dtype, mode):
    x = (IMAGES * 200).to(dtype)
    given = x.clone()
    mixup = Mixup(0.8, 1.0, mode=mode, num_classes=CLASSES, seed=1)
    plan = mixup.plan(BATCH, HEIGHT, WIDTH)
    got, _ = mixup(given, LABELS)
    assert got is given
    hwc = x.permute(0, 2, 3, 1).contiguous()
    hwc = hwc if dtype == torch.uint8 else hwc.float()
    assert torch.equal(got, msda.blend(hwc, plan, dtype=dtype, layout="CHW"))


def test_strided_images_are_mixed_in_place():
    storage = torch.zeros(BATCH, 3, HEIGHT, 2 * WIDTH)
    view = storage[..., ::2]
    view.copy_(IMAGES)
    got, _ = Mixup(num_classes=CLASSES, seed=1)(view, LABELS)
    want, _ = Mixup(num_classes=CLASSES, seed=1)(IMAGES.clone(), LABELS)
    assert got is view and torch.equal(view, want) and not storage[..., 1::2].any()


def test_an_odd_batch_and_one_sample():
    for batch in (1, 5):
        x, rows = Mixup(0.8, num_classes=CLASSES, label_smoothing=0)(
            IMAGES[:batch].clone(), LABELS[:batch])  # fmt: skip
        assert torch.equal(x[batch // 2], IMAGES[batch // 2])
        np.testing.assert_allclose(rows.sum(1), 1, atol=1e-6)


def test_switched_off_it_only_smooths():
    mixup = Mixup(0.8, 1.0, num_classes=CLASSES)
    mixup.mixup_enabled = False
    theirs = timm_mixup.Mixup(0.8, 1.0, num_classes=CLASSES)
    theirs.mixup_enabled = False
    x, rows = mixup(IMAGES.clone(), LABELS)
    assert torch.equal(x, IMAGES)
    torch.testing.assert_close(rows, theirs(IMAGES.clone(), LABELS)[1])


@pytest.mark.parametrize("mode, apart", [("batch", 1), ("pair", 50), ("elem", 100)])
def test_who_shares_a_draw(mode, apart):
    for alphas in ((0.8, 0.0), (0.0, 1.0), (0.8, 1.0)):
        plan = Mixup(*alphas, mode=mode, num_classes=CLASSES, seed=0).plan(100, HEIGHT, WIDTH)
        assert (plan["partner"] == np.arange(100)[::-1]).all()
        assert len(np.unique(plan["lam"])) == apart
        shared = (plan[["method", "lam"]] == plan[["method", "lam"]][::-1]).all()
        assert shared == (mode != "elem")


def test_shares_of_the_methods_and_of_nothing():
    mixup = Mixup(0.8, 1.0, prob=0.8, switch_prob=0.3, mode="elem", num_classes=CLASSES, seed=0)
    methods = mixup.plan(4000, HEIGHT, WIDTH)["method"]
    for method, share in ((0, 0.2), (1, 0.8 * 0.7), (2, 0.8 * 0.3)):
        assert abs((methods == method).mean() - share) < 5 * np.sqrt(share * (1 - share) / 4000)


@pytest.mark.parametrize("kind", [Mixup, MixUp, CutMix])
def test_a_restored_drop_in_goes_on_and_torch_seeds_it(kind):
    def make(seed):
        torch.manual_seed(seed)
        return kind(num_classes=CLASSES)

    first = make(1)
    first(IMAGES.clone(), LABELS)
    state = first.state_dict()
    want = first(IMAGES.clone(), LABELS)
    other = make(2)
    assert not torch.equal(other(IMAGES.clone(), LABELS)[1], want[1])
    other.load_state_dict(state)
    torch.testing.assert_close(other(IMAGES.clone(), LABELS), want, rtol=0, atol=0)
    again = make(1)
    again(IMAGES.clone(), LABELS)
    torch.testing.assert_close(again(IMAGES.clone(), LABELS), want, rtol=0, atol=0)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(mode="half"), "mode: expected 'batch', 'pair' or 'elem', got 'half'"),
        (dict(mixup_alpha=0.0), "mixup_alpha: expected mixup_alpha > 0, cutmix_alpha > 0 or"),
        (dict(mixup_alpha=1e3), r"alpha: expected a number in \[0.01, 100\]"),
        (dict(prob=1.5), "prob: expected a probability"),
        (dict(cutmix_minmax=(0.5, 0.2)), "minmax: expected a pair"),
        (dict(label_smoothing=-1), "label_smoothing: expected a share"),
        (dict(switch_prob=2), "switch_prob: expected a probability"),
    ],
)
def test_wrong_timm_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        Mixup(**change)


@pytest.mark.parametrize(
    "x, target, how, error, message",
    [
        (IMAGES, LABELS + 1, {}, ValueError, r"labels\[1\]: expected 0 <= label < 5, got 5"),
        (IMAGES, ROWS, {}, ValueError, "target: expected class indices"),
        (IMAGES, LABELS, {"multi_label": True}, ValueError, r"target: expected rows \(6, 5\)"),
        (IMAGES, LABELS[:5], {}, ValueError, r"labels: expected shape \(6,\)"),
        (IMAGES.long(), LABELS, {}, TypeError, "images: expected uint8, float64, float32"),
    ],
)
def test_wrong_timm_batches_are_left_as_they_are(x, target, how, error, message):
    given = x.clone()
    with pytest.raises(error, match=message):
        Mixup(num_classes=CLASSES, **how)(given, target)
    assert torch.equal(given, x)


THEIRS = {MixUp: v2.MixUp, CutMix: v2.CutMix}


def torchvisions(kind, ours, monkeypatch, **how):
    """Their transform with the lambda, or the box, of our next batch."""
    theirs = THEIRS[kind](num_classes=CLASSES, **how)
    plan = msda.draw(ours.policy, BATCH, HEIGHT, WIDTH, **ours._key.arguments())
    record = plan[0]
    if kind is MixUp:
        params = dict(lam=float(record["lam"]))
    else:
        box = tuple(int(record[name]) for name in ("x0", "y0", "x1", "y1"))
        params = dict(box=box, lam_adjusted=float(record["weight"]))
    monkeypatch.setattr(theirs, "make_params", lambda _: params)
    return theirs


@pytest.mark.parametrize("kind", [MixUp, CutMix])
@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS.int(), ROWS, ROWS.long(), ROWS.half(), ROWS.double()],
    ids="int64 int32 rows int_rows half_rows double_rows".split(),
)
def test_torchvision_with_our_draws(monkeypatch, kind, labels):
    ours = kind(num_classes=CLASSES, alpha=0.7, seed=2)
    if labels.dtype == torch.int32:
        wide = torch.nn.functional.one_hot  # takes int64 only
        monkeypatch.setattr(
            "torchvision.transforms.v2._augment.one_hot", lambda x, **how: wide(x.long(), **how)
        )
    for _ in range(5):
        theirs = torchvisions(kind, ours, monkeypatch)
        kept = IMAGES.clone()
        for order in ({}, LAST):
            want, rows_theirs = theirs(IMAGES.contiguous(**order), labels)
            step = ours._key.step
            got, rows = ours(IMAGES.contiguous(**order), labels)
            torch.testing.assert_close(got, want, rtol=1e-6, atol=2e-7)
            loose = 2e-3 if labels.dtype == torch.half else 2e-7
            assert rows.dtype == rows_theirs.dtype
            torch.testing.assert_close(rows, rows_theirs, rtol=1e-6, atol=loose)
            assert torch.equal(IMAGES, kept)
            ours._key.step = step
        ours._key.step += 1


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_what_torchvision_takes(monkeypatch, kind):
    """Nested samples, images and videos of its own, more tensors, a getter of labels."""
    video = tv_tensors.Video(torch.rand(BATCH, 2, 3, HEIGHT, WIDTH))
    image = tv_tensors.Image(IMAGES)
    cases = [
        ({"a": {"images": image}, "labels": LABELS, "name": "x"}, "default"),
        ((image, LABELS, torch.arange(3)), "default"),
        ((video, LABELS), "default"),
        ([image, video, {"kind": LABELS}], lambda sample: sample[2]["kind"]),
    ]
    for sample, getter in cases:
        ours = kind(num_classes=CLASSES, seed=5, labels_getter=getter)
        theirs = torchvisions(kind, ours, monkeypatch, labels_getter=getter)
        got, want = ours(sample), theirs(sample)
        flat, other = (torch.utils._pytree.tree_leaves(part) for part in (got, want))
        assert len(flat) == len(other)
        for a, b in zip(flat, other, strict=True):
            assert type(a) is type(b)
            if isinstance(a, torch.Tensor):
                torch.testing.assert_close(a, b, rtol=1e-6, atol=2e-7)
            else:
                assert a == b


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_torchvision_errors_are_theirs(kind):
    bad = [
        (IMAGES, [0] * BATCH),
        (IMAGES, LABELS[:, None, None]),
        (IMAGES, torch.ones(BATCH, CLASSES + 1)),
        (IMAGES[0], LABELS),
        (IMAGES[:5], LABELS),
        (tv_tensors.Video(IMAGES), LABELS),
        (IMAGES, tv_tensors.Mask(torch.zeros(BATCH, HEIGHT, WIDTH)), LABELS),
    ]
    for inputs in bad:
        messages = []
        for make in (kind, THEIRS[kind]):
            with pytest.raises(ValueError) as caught:
                make(num_classes=CLASSES)(*inputs)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
    for make in (kind, THEIRS[kind]):
        with pytest.raises(ValueError, match="num_classes must be passed"):
            make()(IMAGES, LABELS)
    with pytest.raises(ValueError, match=r"labels\[1\]: expected 0 <= label < 5, got 5"):
        kind(num_classes=CLASSES)(IMAGES, LABELS + 1)
    with pytest.raises(ValueError, match="alpha: expected a number in"):
        kind(alpha=0.001)


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_torchvision_on_bytes_and_odd_batches(kind):
    images = (IMAGES * 255).to(torch.uint8)[:5]
    mixed, rows = kind(num_classes=CLASSES, seed=0)(images, LABELS[:5])
    policy = kind(num_classes=CLASSES).policy
    plan = msda.draw(policy, 5, HEIGHT, WIDTH, seed=0, step=0)
    hwc = images.permute(0, 2, 3, 1).contiguous()
    assert torch.equal(mixed, msda.blend(hwc, plan, layout="CHW"))
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-6)


def test_images_of_several_sizes():
    images = {"large": tv_tensors.Image(IMAGES), "small": tv_tensors.Image(IMAGES[..., ::2])}
    sample = (images, LABELS)
    getter = dict(num_classes=CLASSES, labels_getter=lambda sample: sample[1])
    mixed, _ = MixUp(**getter, seed=0)(sample)
    assert torch.equal(mixed["large"][..., ::2], mixed["small"])
    with pytest.raises(ValueError, match="images: expected one height and width"):
        CutMix(**getter)(sample)


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 2 * BATCH

    def __getitem__(self, index):
        return IMAGES[index % BATCH], LABELS[index % BATCH]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_in_collate_each_worker_and_each_epoch_draws_its_own():
    """Lambdas that repeat in every worker and every epoch."""
    mixup = v2.RandomChoice([MixUp(num_classes=CLASSES)])

    def collate(samples):
        return mixup(*default_collate(samples))

    loader = DataLoader(Samples(), 3, num_workers=2, collate_fn=collate)
    rows = [rows for _ in range(2) for _, rows in loader]
    lams = {round(float(row[row > 0].min()), 6) for row in torch.cat(rows) if (row > 0).sum() > 1}
    assert len(lams) >= 7  # one of a batch and its complement

    mixup = MixUp(num_classes=CLASSES, seed=1)
    with raises_in_worker(RuntimeError, match="seed: expected a call in the process that trains"):
        list(loader)
