"""JAX by DALI's iterator: the pipeline mixes, and the loss takes its rows instead of classes."""

from pathlib import Path

import jax
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.base_iterator import LastBatchPolicy
from nvidia.dali.plugin.jax import DALIGenericIterator

import dali_msda as msda  # changed
from dali_msda.dali import mix  # changed
from dali_msda.pipelines.recipes import command

NORMAL = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])  # of uint8 pixels
RATE = 0.1


@pipeline_def
def mixed(folder: Path, size: int, classes: int, decoder: str) -> tuple:
    """Images and targets of a batch."""
    jpegs, labels = fn.readers.file(file_root=folder, random_shuffle=True, name="reader")
    images = fn.decoders.image_random_crop(jpegs, device=decoder, output_type=types.RGB)
    images = fn.resize(images, size=[size, size])
    how = dict(num_classes=classes, mirror=fn.random.coin_flip(), **NORMAL)
    return mix(images, labels, msda.CutMix(), **how)  # changed


def network(weights: list[jax.Array], images: jax.Array) -> jax.Array:
    """Logits of a small network of convolutions."""
    for kernel in weights[:-1]:
        images = jax.nn.relu(jax.lax.conv(images, kernel, (2, 2), "SAME"))
    return images.mean((2, 3)) @ weights[-1]


def loss_of(weights: list[jax.Array], images: jax.Array, targets: jax.Array) -> tuple:
    """Loss of a batch, and how many of its labels that weigh most were found."""
    logits = network(weights, images)
    loss = -(targets * jax.nn.log_softmax(logits)).sum(1).mean()  # changed: no jax.nn.one_hot
    return loss, (logits.argmax(1) == targets.argmax(1)).sum()  # changed: .argmax(1)


@jax.jit
def step(weights: list[jax.Array], images: jax.Array, targets: jax.Array) -> tuple:
    """Weights after one step, with loss and count."""
    found, slopes = jax.value_and_grad(loss_of, has_aux=True)(weights, images, targets)
    return [weight - RATE * slope for weight, slope in zip(weights, slopes, strict=True)], *found


def train(
    folder: Path,
    size: int = 224,
    batch: int = 256,
    workers: int = 8,
    epochs: int = 90,
    device: str = "cuda",
) -> float:
    """Train, and return the last loss."""
    classes = sum(path.is_dir() for path in (folder / "train").iterdir())
    on_gpu = device != "cpu"
    how = dict(batch_size=batch, num_threads=workers, device_id=0 if on_gpu else None)
    pipeline = mixed(folder / "train", size, classes, "mixed" if on_gpu else "cpu", **how)
    policy = dict(last_batch_policy=LastBatchPolicy.DROP, auto_reset=True)
    loader = DALIGenericIterator(pipeline, ["images", "targets"], reader_name="reader", **policy)
    shapes = [(32, 3, 3, 3), (64, 32, 3, 3), (64, classes)]
    keys = jax.random.split(jax.random.key(0), len(shapes))
    made = [0.1 * jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]
    weights, right, seen = jax.device_put(made, jax.devices(device)[0]), 0, 0
    for _ in range(epochs):
        for data in loader:
            weights, loss, count = step(weights, data["images"], data["targets"])
            right, seen = right + count, seen + batch
    print(f"accuracy {right / seen:.3f} of the labels that weigh most")
    return loss.item()


main = command.of(train)

if __name__ == "__main__":
    main()
