"""The peers that work on torch tensors. Each makes a function that mixes a batch."""

import importlib
from collections.abc import Callable

import numpy as np

from bench.cases import Missing
from bench.memory import MEAN, STD, normalisation
from bench.peers import released
from bench.peers.on_dali import CLASSES

MODES = {"batch": "batch", "pair": "pair", "sample": "elem"}  # timm's names


def torch_for(case: dict[str, object]):
    """PyTorch, with as many threads as the case has."""
    try:
        import torch
    except ImportError as error:
        raise Missing(f"torch: {error}") from error
    if case["threads"]:
        torch.set_num_threads(case["threads"])
    try:  # lets a CUDA wheel of torchvision be imported beside a CPU build of torch
        from dali_msda.torch.torchvision_cpu import declare_operators

        declare_operators()
    except ImportError:
        pass
    return torch


def _from(package: str, name: str, *names: str) -> list:
    """Import names from a peer's package; if that fails, Missing says why."""
    try:
        module = importlib.import_module(package)
        return [getattr(module, one) for one in (name, *names)]
    except (ImportError, RuntimeError, OSError) as error:
        raise Missing(f"{package}: {error}") from error


def _tensors(torch, images: np.ndarray, labels: np.ndarray, case: dict[str, object]) -> tuple:
    device = case["device"]
    return torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)


def _normaliser(torch, case: dict[str, object]) -> Callable:
    """What makes normalised CHW floats of HWC bytes as timm does: by a cast, then in place."""
    dtype = getattr(torch, case["dtype"])
    mean, std = (
        torch.tensor(values, device=case["device"], dtype=dtype).view(1, 3, 1, 1)
        for values in (MEAN, STD)
    )

    def normalised(pixels):
        channels_first = pixels.permute(0, 3, 1, 2)
        moved = channels_first.to(dtype, memory_format=torch.contiguous_format)
        return moved.sub_(mean).div_(std)

    return normalised


def _alphas(method: str) -> dict[str, object]:
    return {"mixup_alpha": float(method == "mixup"), "cutmix_alpha": float(method != "mixup")}


def timm_mixup(images: np.ndarray, labels: np.ndarray, case: dict[str, object]) -> Callable:
    """Timm's loader normalises, and its Mixup mixes in place."""
    torch = torch_for(case)
    (mixup,) = _from("timm.data.mixup", "Mixup")
    mix = _timm(mixup, case)
    pixels, classes = _tensors(torch, images, labels, case)
    normalised = _normaliser(torch, case)
    return lambda: mix(normalised(pixels), classes)


def _timm(kind: type, case: dict[str, object]) -> Callable:
    mode = MODES[case["scope"]]
    return kind(**_alphas(case["method"]), mode=mode, label_smoothing=0.0, num_classes=CLASSES)


def fused_then_timm(images: np.ndarray, labels: np.ndarray, case: dict[str, object]) -> Callable:
    """Timm's Mixup after a normalisation in one pass, as DALI's crop_mirror_normalize does it.

    The pass is our blend with a plan that mixes nothing, so that DALI need not be there.
    """
    import dali_msda as msda

    torch = torch_for(case)
    (mixup,) = _from("timm.data.mixup", "Mixup")
    mix = _timm(mixup, case)
    pixels, classes = _tensors(torch, images, labels, case)
    batch, height, width, channels = images.shape
    plan = msda.draw(msda.Mixup(prob=0.0), batch, height, width, seed=0, step=0)
    dtype = getattr(torch, case["dtype"])
    out = torch.empty((batch, channels, height, width), dtype=dtype, device=case["device"])
    options = {"layout": "CHW", "out": out, "threads": case["threads"]}
    options |= normalisation(case["dtype"])
    return lambda: mix(msda.blend(pixels, plan, **options), classes)


def timm_collate(images: np.ndarray, labels: np.ndarray, case: dict[str, object]) -> Callable:
    """Timm mixes bytes while it collates CHW samples; its loader then normalises."""
    torch = torch_for(case)
    (mixup,) = _from("timm.data.mixup", "FastCollateMixup")
    collate = _timm(mixup, case)
    # The samples lie in memory as CHW, which favours the peer: its dataset yields views of HWC.
    samples = [np.ascontiguousarray(image.transpose(2, 0, 1)) for image in images]
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    overwrites = case["method"] == "cutmix" and case["scope"] == "pair"  # its samples

    def run():
        given = [sample.copy() for sample in samples] if overwrites else samples
        mixed, rows = collate(list(zip(given, labels.tolist(), strict=True)))
        return mixed.float().sub_(mean).div_(std), rows

    return run


def torchvision_v2(images: np.ndarray, labels: np.ndarray, case: dict[str, object]) -> Callable:
    """Torchvision's transforms, one after the other."""
    torch = torch_for(case)
    kind = {"mixup": "MixUp", "cutmix": "CutMix"}[case["method"]]
    names = ("Compose", "ToDtype", "Normalize", kind)
    compose, to_dtype, normalize, mixing = _from("torchvision.transforms.v2", *names)
    of_one = [[value / 255 for value in values] for values in (MEAN, STD)]
    steps = compose([to_dtype(torch.float32, scale=True), normalize(*of_one)])
    mix = mixing(num_classes=CLASSES)
    pixels, classes = _tensors(torch, images, labels, case)

    def run():
        return mix(steps(pixels.permute(0, 3, 1, 2).contiguous()), classes)

    return run


def kornia_v2(images: np.ndarray, labels: np.ndarray, case: dict[str, object]) -> Callable:
    """Kornia's mixes. They return two labels and a weight, of which rows are made here."""
    torch = torch_for(case)
    mixup, cutmix = _from("kornia.augmentation", "RandomMixUpV2", "RandomCutMixV2")
    how = {"p": 1.0, "data_keys": ["input", "class"], "same_on_batch": case["scope"] == "batch"}
    own = case["method"] == "cutmix"  # with the flag below it returns the own weight
    mix = cutmix(use_correct_lambda=True, **how) if own else mixup(**how)
    pixels, classes = _tensors(torch, images, labels, case)
    normalised = _normaliser(torch, case)

    def run():
        mixed, triples = mix(normalised(pixels), classes)
        triples = triples.reshape(-1, 3)  # the first axis of CutMix's counts boxes
        weight = triples[:, 2:] if own else 1 - triples[:, 2:]
        weights = torch.cat([weight, 1 - weight], 1)
        rows = torch.zeros(len(mixed), CLASSES, device=mixed.device)
        return mixed, rows.scatter_add_(1, triples[:, :2].long(), weights)

    return run


def ffcv_mixup(images: np.ndarray, labels: np.ndarray, case: dict[str, object]) -> Callable:
    """FFCV's compiled operations, which work on bytes, then the normalisation."""
    torch_for(case)
    image, label, one_hot = _from("ffcv.transforms", "ImageMixup", "LabelMixup", "MixupToOneHot")
    (compiler,) = _from("ffcv.pipeline.compiler", "Compiler")
    compiler.set_num_threads(case["threads"])  # its import has set torch to one
    torch = torch_for(case)
    same = case["scope"] == "batch"
    mix, mix_labels = (
        compiler.compile(operation(alpha=1.0, same_lambda=same).generate_code())
        for operation in (image, label)
    )
    spell = one_hot(CLASSES).generate_code()
    normalised, batch = _normaliser(torch, case), len(images)
    mixed, triples = np.empty_like(images), np.empty((batch, 3), np.float32)
    column, rows, indices = labels[:, None], torch.empty(batch, CLASSES), np.arange(batch)

    def run():
        mix(images, mixed, indices)
        mix_labels(column, triples, indices)
        return normalised(torch.from_numpy(mixed)), spell(torch.from_numpy(triples), rows)

    return run


def released_fmix(images: np.ndarray, labels: np.ndarray, case: dict[str, object]) -> Callable:
    """The authors' FMix: a mask for the batch with their function, or one for each sample."""
    torch, code = torch_for(case), released.load("fmix", "sample_mask")
    pixels, classes = _tensors(torch, images, labels, case)
    normalised, shape = _normaliser(torch, case), images.shape[1:3]

    def whole():
        mixed, order, lam = code.sample_and_apply(normalised(pixels), 1.0, 3.0, shape)
        return mixed.float(), spelt(order, torch.full((len(images), 1), float(lam)))

    def each():
        source, order = normalised(pixels), torch.randperm(len(images))
        drawn = [code.sample_mask(1.0, 3.0, shape) for _ in images]
        masks = torch.from_numpy(np.stack([mask for _, mask in drawn])).float()
        lam = torch.tensor([float(lam) for lam, _ in drawn])[:, None]
        return source * masks + source[order] * (1 - masks), spelt(order, lam)

    def spelt(order, lam):
        rows = torch.zeros(len(images), CLASSES)
        both = torch.stack([classes, classes[order]], 1)
        return rows.scatter_add_(1, both, torch.cat([lam, 1 - lam], 1))

    return whole if case["scope"] == "batch" else each


def released_mixup(images: np.ndarray, labels: np.ndarray, case: dict[str, object]) -> Callable:
    """The authors' HMix and GMix."""
    torch, code = torch_for(case), released.load("mixup", "Mixup")
    mix = code.Mixup(
        mixup_alpha=0.0,
        cutmix_alpha=1.0,
        cutmix_mode=case["method"],
        hmix_ratio=0.5,
        label_smoothing=0.0,
        num_classes=CLASSES,
    )
    pixels, classes = _tensors(torch, images, labels, case)
    normalised = _normaliser(torch, case)
    return lambda: mix(normalised(pixels), classes)
