"""DALI's GPU operators as far as they go without a GPU: registered, documented, in graphs.

What their kernels and host do is the matter of tests/cuda/test_native_gpu.py; on a GPU, of
tests/with_dali/test_dali_gpu.py.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from nvidia.dali import Pipeline, backend, fn

import dali_msda as msda
from dali_msda import dali
from dali_msda.backends import nvrtc
from dali_msda.pipelines.data import datasets
from dali_msda.pipelines.loaders import dali as dali_loaders
from dali_msda.pipelines.loaders import dali_epochs
from tests.conftest import has_gpu
from tests.support.coloured_folders import write_folder

without_gpu = pytest.mark.skipif(has_gpu(), reason="there is a GPU")
GPU = ("msda__Blend", "msda__Targets", "msda__Saliency")


def graph(define, **kwargs):
    """A pipeline that is defined and not built."""
    pipeline = Pipeline(batch_size=4, num_threads=1, device_id=None, **kwargs)
    with pipeline:
        pipeline.set_outputs(*define())
    return pipeline


def operators(pipeline):
    """Of each operator, in order: name, devices of the inputs, devices of the outputs."""
    pipeline.serialize()  # which builds the graph
    return [
        (
            op.name.strip("_").split("_")[0],
            [i.device for i in op.inputs],
            [o.device for o in op.outputs],
        )
        for op in pipeline._ops
    ]


def batch(device, labels="cpu"):
    images = fn.external_source(lambda: np.zeros((4, 6, 7, 3), np.uint8), device=device, batch=True)
    return images, fn.external_source(lambda: np.arange(4), device=labels, batch=True)


def test_operators_are_registered():
    assert set(GPU) <= set(backend.RegisteredGPUOps())
    assert "msda__Plan" not in backend.RegisteredGPUOps()


@pytest.mark.parametrize(
    "name, devices",
    [("Plan", ["cpu"]), ("Blend", ["cpu", "gpu"]), ("Targets", ["cpu", "gpu"]),
     ("Saliency", ["cpu", "gpu"])],
)  # fmt: skip
def test_the_documentation_names_the_devices(name, devices):
    from nvidia.dali import ops

    text = getattr(ops.msda, name).__doc__
    supported = text.split("Supported backends")[1].split("Args")[0]
    assert [d for d in ("cpu", "gpu") if f"'{d}'" in supported] == devices


@pytest.mark.parametrize("compact", [False, True])
def test_mix_of_images_on_a_gpu(compact):
    def define():
        images, labels = batch("gpu")
        mirror = fn.random.coin_flip()
        return dali.mix(
            images, labels, msda.FMix(), num_classes=3, mirror=mirror, compact=compact,
            dtype="float16", layout="HWC",
        )  # fmt: skip

    pipeline = graph(define)
    targets = ["gpu"] * (2 if compact else 1)
    found = {name: devices for name, *devices in operators(pipeline)}
    assert found["Plan"] == [["gpu"], ["cpu"]]
    assert found["Blend"] == [["gpu", "cpu", "cpu"], ["gpu"]]
    assert found["Targets"] == [["cpu", "cpu"], targets]
    written = pipeline.serialize()
    assert all(f"msda__{name}".encode() in written for name in ("Plan", "Blend", "Targets"))


def test_mix_by_saliency_on_a_gpu():
    pipeline = graph(lambda: dali.mix(*batch("gpu"), msda.SaliencyMix(), num_classes=3))
    found = {name: devices for name, *devices in operators(pipeline)}
    assert found["Saliency"] == [["gpu"], ["gpu"]]
    assert found["Plan"] == [["gpu", "cpu"], ["cpu"]]


def test_mix_of_images_on_the_cpu_stays_there():
    pipeline = graph(lambda: dali.mix(*batch("cpu"), msda.SaliencyMix(), num_classes=3))
    assert all({*ins, *outs} == {"cpu"} for _, ins, outs in operators(pipeline))


def test_labels_on_a_gpu_are_refused():
    with pytest.raises(ValueError, match=r"labels: expected a batch on the CPU.*labels\.cpu\(\)"):
        graph(lambda: dali.mix(*batch("gpu", "gpu"), msda.CutMix(), num_classes=3))


def test_the_image_loader_for_a_gpu(tmp_path, monkeypatch):
    """Its graph: decoded by nvJPEG, labels on the CPU up to the targets."""

    class Defined(Exception):
        pass

    class Undevised(Pipeline):
        def __init__(self, *args, device_id, **kwargs):
            assert device_id == 0
            super().__init__(*args, device_id=None, **kwargs)

        def build(self):
            raise Defined(self)

    monkeypatch.setattr(dali_epochs, "Pipeline", Undevised)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    write_folder(tmp_path, [4, 4])
    source = datasets.find(str(tmp_path))
    for more, mixed in [({}, 1), ({"copies": 2}, 2), ({"policy": None}, 0)]:
        options = {"batch_size": 4, "size": 16, "policy": msda.CutMix(), "device_id": 0} | more
        with pytest.raises(Defined) as defined:
            dali_loaders.TrainingLoader(source, channels_last=True, dtype="float16", **options)
        found = operators(defined.value.args[0])
        decoders = [
            devices
            for name, *devices in found
            if "decoders" in name.lower() or "ImageRandomCrop" in name or name == "Image"
        ]
        assert decoders == [[["cpu"], ["gpu"]]]
        blends = [devices for name, *devices in found if name == "Blend"]
        assert blends == [[["gpu", "cpu", "cpu"], ["gpu"]]] * mixed
        targets = [devices for name, *devices in found if name == "Targets"]
        assert targets == [[["cpu", "cpu"], ["gpu", "gpu"]]] * mixed


@without_gpu
@pytest.mark.parametrize("device_id", [None, 0])
def test_a_gpu_that_is_not_there_is_dalis_error(device_id):
    with pytest.raises(RuntimeError, match="CUDA"):
        pipeline = Pipeline(batch_size=4, num_threads=1, device_id=device_id)
        with pipeline:
            pipeline.set_outputs(*dali.mix(*batch("gpu"), msda.CutMix(), num_classes=3))
        pipeline.build()
        pipeline.run()


@without_gpu
def test_a_gpu_that_is_not_there_in_dynamic_mode():
    import nvidia.dali.experimental.dynamic as ndd

    images = ndd.as_batch([np.zeros((4, 5, 3), np.uint8)] * 2, layout="HWC")
    with pytest.raises(RuntimeError):
        ndd.as_tensor(ndd.msda.saliency(images, device="gpu"))


# ----------------------------------------------------------------------------- the kernels' code


def plugin_compiler(monkeypatch, cubin):
    """What the operators would be answered for sources of the GPU."""
    import ctypes

    monkeypatch.setattr(nvrtc, "cubin", cubin)

    def ask(source, arch, room=100):
        answer = ctypes.create_string_buffer(room + 1)
        found = nvrtc._compile(source, arch, ctypes.addressof(answer), room)
        return found, answer.value.decode()

    return ask


def test_operators_are_answered_by_nvrtc(monkeypatch):
    def cubin(source, arch):
        if arch == "sm_1":
            raise RuntimeError("sm_1: too old" + "!" * 200)
        return Path("/cache", source, arch)

    ask = plugin_compiler(monkeypatch, cubin)
    assert ask(b"blend", b"sm_90") == (1, "/cache/blend/sm_90")
    found, text = ask(b"blend", b"sm_1")
    assert not found and text == "sm_1: too old" + "!" * 87


def test_the_plugin_asks_this_process(tmp_path):
    """The C function is there, takes the callback, and outlives a reload of the module."""
    code = """
import ctypes, gc, importlib, os
from dali_msda import build, dali
plugin = ctypes.CDLL(str(build.library("dali")), mode=os.RTLD_NOW | os.RTLD_NOLOAD)
assert plugin.msda_set_compiler
importlib.reload(dali); gc.collect()
print("ok")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "ok\n", done.stderr[-2000:]
