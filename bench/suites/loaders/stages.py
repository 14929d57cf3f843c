"""Where the time of an image goes in whole loaders: CPU milliseconds by stage.

The work is cut off after each stage, and the difference to the stage before counts. For DALI the
pipeline ends there. For the loaders on torch's ``DataLoader`` one thread calls what a worker calls;
``handing over`` is what the whole loader takes besides: the queue, shared memory, and what the
process that trains does itself, which with timm is the normalisation. The JPEGs are those of
side_by_side.py.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import dali_msda as msda
from bench.cases import Job, cores
from bench.memory import MEAN, STD
from bench.peers.on_dali import dali
from bench.peers.on_torch import torch_for
from bench.suites.loaders import ours, peers, photographs
from bench.suites.loaders.turns import epoch, settle, whole_epoch

ISOLATED = True
COUNT = 256  # JPEGs
COMMON = {"policy": "mixup", "batch": 64, "size": 224, "dtype": "float32", "threads": 0}
TABLES = {
    "quick": [],
    "default": [
        {
            "loader": ("dali", "torch", "torchvision.v2", "timm.FastCollateMixup"),
            **COMMON,
            "images": COUNT,
        },
    ],
    "all": [],
}


def prepare(case: dict[str, object]) -> Job:
    """The whole loader, and its work up to each stage."""
    case = case | {"threads": 1}
    torch_for(case)  # with one thread, as a worker has
    source = photographs.of_imagenet_size(case["images"])
    stages = STAGES[case["loader"]](source, case)
    count = case["images"]

    def figures(medians: dict[str, float]) -> dict[str, float]:
        each = {name: medians[name] * 1e3 / count for name in stages}
        before = [0.0, *each.values()]
        return {f"ms_{name.replace(' ', '_')}": round(value - less, 3)
                for (name, value), less in zip(each.items(), before, strict=False)}  # fmt: skip

    last = list(stages)[-1]
    runs = {last: stages[last], **stages}
    return Job(runs, None, count, "images", threads=0, loops=False, figures=figures)


def _of_dali(source: object, case: dict[str, object]) -> dict[str, Callable]:
    fn, _, _ = dali()
    from nvidia.dali import Pipeline

    from dali_msda.dali import mix
    from dali_msda.pipelines.loaders import dali_readers

    whole = dict(training=True, seed=0, shard_id=0, num_shards=1)
    batches = case["images"] // case["batch"]

    def cut(stage: int) -> Callable:
        pipeline = Pipeline(case["batch"], cores(), None, seed=0, exec_dynamic=True)
        with pipeline:
            images, labels = dali_readers.read(source, **whole)
            if stage > 0:
                crop = dict(random_area=list(peers.AREA), random_aspect_ratio=list(peers.RATIO))
                images = fn.decoders.image_random_crop(fn.msda.check_encoded(images), **crop)
            if stage > 1:
                images = fn.resize(images, size=[case["size"]] * 2, antialias=True)
            if stage > 2:
                how = dict(num_classes=len(source.classes), mean=list(MEAN), std=list(STD))
                mirror = fn.random.coin_flip()
                images, labels = mix(images, labels, msda.Mixup(), mirror=mirror, **how)
            pipeline.set_outputs(images, labels)
        pipeline.build()

        def run() -> None:
            for _ in range(batches):
                pipeline.run()
            settle(0.002)

        return run

    names = ("reading", "decoding", "scaling", "mixing")
    made = {name: cut(stage) for stage, name in enumerate(names)}
    loader = ours.training_loader("dali", source, case, msda.Mixup())
    return made | {"handing over": lambda: whole_epoch(loader)}


def _of_torch(source: object, case: dict[str, object]) -> dict[str, Callable]:
    loader = ours.training_loader("torch", source, case, msda.Mixup())
    from dali_msda.pipelines.data import decoding, image_formats
    from dali_msda.torch import worker_memory

    images, collate = loader._dataset(), loader._collate_fn()

    def samples() -> Iterator:
        return map(images.__getitems__, loader._loader.batch_sampler)

    def mixed() -> None:
        with mock.patch.object(worker_memory, "get_worker_info", lambda: "one"):
            epoch(map(collate, samples()))

    return {
        "reading": lambda: epoch(map(image_formats.read_file, source.files)),
        "decoding": lambda: epoch(map(decoding.decode, source.files)),
        "scaling": lambda: epoch(samples()),
        "mixing": mixed,
        "handing over": lambda: whole_epoch(loader),
    }


def _of_torchvision(source: object, case: dict[str, object]) -> dict[str, Callable]:
    loader = peers.torchvision_v2(source, case)
    files = [file for file, _ in loader.dataset.samples]
    return _of_samples(loader, files, loader.collate_fn, case)


def _of_timm(source: object, case: dict[str, object]) -> dict[str, Callable]:
    loader = peers.timm_collate(source, case)
    files = [file for file, _ in loader.dataset.reader.samples]
    return _of_samples(loader, files, loader.loader.collate_fn, case)


def _of_samples(
    loader: object, files: list[str], collate: Callable, case: dict[str, object]
) -> dict[str, Callable]:
    """Stages of a loader over a dataset whose items are transformed one by one."""
    from PIL import Image

    data = loader.dataset
    crop, mirror, *_ = data.transform.transforms

    def decoded() -> Iterator:
        return (Image.open(file).convert("RGB") for file in files)

    def mixed() -> None:
        samples = (data[number] for number in range(len(files)))
        for batch in iter(lambda: list(itertools.islice(samples, case["batch"])), []):
            collate(batch)

    return {
        "reading": lambda: epoch(map(Path.read_bytes, map(Path, files))),
        "decoding": lambda: epoch(decoded()),
        "scaling": lambda: epoch(map(mirror, map(crop, decoded()))),
        "mixing": mixed,
        "handing over": lambda: whole_epoch(loader),
    }


STAGES = {
    "dali": _of_dali,
    "torch": _of_torch,
    "torchvision.v2": _of_torchvision,
    "timm.FastCollateMixup": _of_timm,
}
