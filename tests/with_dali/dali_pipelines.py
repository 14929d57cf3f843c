"""What the DALI tests share: photographs as JPEG files, and pipelines that are built and run."""

import numpy as np
from nvidia.dali import Pipeline, fn, types
from PIL import Image
from skimage import data

import dali_msda as msda

HEIGHT, WIDTH = 26, 31
CLASSES = 3
FILES = 21


def write_photographs(root):
    """An ImageFolder of crops of three photographs, of differing size and quality."""
    rng = np.random.default_rng(0)
    for name in ("astronaut", "chelsea", "coffee"):
        (root / name).mkdir()
        photograph = getattr(data, name)()
        for number in range(FILES // CLASSES):
            height, width = rng.integers(40, 120, 2)
            y, x = (
                rng.integers(0, n - m)
                for n, m in zip(photograph.shape[:2], (height, width), strict=True)
            )
            crop = Image.fromarray(photograph[y : y + height, x : x + width])
            crop.save(root / name / f"{number}.jpg", quality=int(rng.integers(60, 96)))
    return root


def read(root, *, size=(HEIGHT, WIDTH), **reader):
    """Decoded and resized photographs with their labels, as nodes of a pipeline."""
    jpegs, labels = fn.readers.file(file_root=str(root), name="reader", **reader)
    images = fn.decoders.image(jpegs, output_type=types.RGB)
    return fn.resize(images, size=size, antialias=False), labels


def source(array, **kwargs):
    """A batch that stays the same in every iteration, as a node of a pipeline."""
    return fn.external_source(lambda: list(array), batch=True, **kwargs)


def given(plan):
    """A plan as a node of a pipeline."""
    return source(plan.view(np.uint8).reshape(*plan.shape, -1))


def recorded(policy, **fields):
    """A policy as the argument that fn.msda.plan takes, with fields of its records overwritten."""
    leaves = policy.leaves()
    for name, value in fields.items():
        leaves[name] = value
    return leaves.view(np.int32).tolist()


def build(define, batch=4, *, threads=2, seed=11, **kwargs):
    """A pipeline of what ``define()`` returns."""
    pipeline = Pipeline(batch_size=batch, num_threads=threads, device_id=None, seed=seed, **kwargs)
    with pipeline:
        outputs = define()
        pipeline.set_outputs(*(outputs if isinstance(outputs, tuple | list) else (outputs,)))
    pipeline.build()
    return pipeline


def arrays(outputs):
    """The outputs of one iteration as arrays of their own memory."""
    return tuple(np.array(output.as_cpu().as_array()) for output in outputs)


def run(define, batch=4, *, iterations=1, **kwargs):
    """Builds a pipeline and runs it: the arrays of one iteration, or a list of them."""
    pipeline = build(define, batch, **kwargs)
    results = [arrays(pipeline.run()) for _ in range(iterations)]
    return results[0] if iterations == 1 else results


def records(plans):
    """Plans as DALI gives them, ``(B, 160)`` or ``(B, k, 160)`` bytes, as records."""
    return np.ascontiguousarray(plans).view(msda.PLAN_DTYPE)[..., 0]


def assert_same(ours, theirs):
    """Asserts that two lists of iterations hold the same bits."""
    for mine, yours in zip(ours, theirs, strict=True):
        for a, b in zip(mine, yours, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
