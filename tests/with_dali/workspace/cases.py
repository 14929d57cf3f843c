"""What test_dali_workspace.py runs: ``python -m tests.with_dali.workspace.cases CASE ...``.

DALI's operators for a GPU, run by hand: their inputs and outputs are memory of the CPU, at any
addresses, and the driver is a stub with emulated kernels. Streams start when the operator is done,
as on a GPU that is busy.
"""

import ctypes
import sys
from ctypes import c_char_p, c_float, c_int32, c_int64, c_void_p

import numpy as np
from nvidia.dali import types

import dali_msda as msda
from dali_msda import dali
from dali_msda.backends import cpu, nvrtc
from dali_msda.backends.cpu_library import structure
from tests.cuda.emulation import State, Walled, launches_of, walled
from tests.support.batches import KINDS, every_kind_of_record, on_the_cpu, options_of, random_images
from tests.support.doors import STORED, assert_same

STREAM = 7
TYPES = {"uint8": types.UINT8, "float32": types.FLOAT, "float16": types.FLOAT16}
TYPES |= {"int64": types.INT64, "int32": types.INT32}
NAMES = {int(kind): name for name, kind in TYPES.items()}
Batch = structure(
    "Batch",
    dict.fromkeys("gpu samples axes type".split(), c_int32)
    | {"shapes": c_void_p, "addresses": c_void_p, "layout": c_char_p},
)
ALLOCATE = ctypes.CFUNCTYPE(
    None, c_int32, c_int32, c_int32, ctypes.POINTER(c_int64), c_int32, ctypes.POINTER(c_void_p)
)


def loaded(stub, workspace, folder):
    """The stub's state, and the functions that run operators."""
    driver, lib = ctypes.CDLL(stub), ctypes.CDLL(workspace)
    driver.stub_state.restype = ctypes.POINTER(State)
    for name, arguments in {
        "spec_int": [c_char_p, c_int32],
        "spec_bool": [c_char_p, c_int32],
        "spec_type": [c_char_p, c_int32],
        "spec_real": [c_char_p, c_float],
        "spec_text": [c_char_p, c_char_p],
        "spec_reals": [c_char_p, c_void_p, c_int32],
        "spec_input": [c_char_p, c_int32],
        "spec_argument": [c_char_p],
        "spec_output": [c_char_p],
        "operator_new": [],
        "operator_run": [c_void_p, c_int32, c_void_p, c_int32, ALLOCATE, c_void_p, c_char_p],
    }.items():
        function = getattr(lib, name)
        function.argtypes, function.restype = [c_void_p, *arguments], c_char_p
    lib.spec_new.argtypes, lib.spec_new.restype = [c_char_p], c_void_p
    code = folder / "code"
    code.write_bytes(b"\x7fELF of every kernel")

    def cubin(source, arch):
        """What the plugin is answered."""
        if source not in nvrtc.sources():
            raise ValueError(f"name: expected a source of the kernels, got {source!r}")
        return code

    nvrtc.cubin = cubin
    return driver, lib


def check(text):
    if text is not None:
        raise RuntimeError(text.decode())


class Operator:
    """An operator of DALI for GPU number 0; ``inputs`` are ``"cpu"`` or ``"gpu"``."""

    def __init__(self, tools, name, inputs, arguments=(), outputs=1, **settings):
        self.driver, self.lib = tools
        self.state = self.driver.stub_state().contents
        self.spec, self.names = self.lib.spec_new(name.encode()), arguments
        self.devices = inputs
        self.lib.spec_text(self.spec, b"device", b"gpu")
        for key, value in {"max_batch_size": 64, "num_threads": 1, "device_id": 0}.items():
            self.lib.spec_int(self.spec, key.encode(), value)
        for key, value in settings.items():
            self._set(key.encode(), value)
        for k, device in enumerate(inputs):
            check(self.lib.spec_input(self.spec, f"input {k}".encode(), device == "gpu"))
        for key in arguments:
            check(self.lib.spec_argument(self.spec, key.encode()))
        for k in range(outputs):
            self.lib.spec_output(self.spec, f"output {k}".encode())
        check(self.lib.operator_new(self.spec))

    def _set(self, key, value):
        if isinstance(value, bool):
            self.lib.spec_bool(self.spec, key, value)
        elif isinstance(value, types.DALIDataType):
            self.lib.spec_type(self.spec, key, int(value))
        elif isinstance(value, str):
            self.lib.spec_text(self.spec, key, value.encode())
        elif isinstance(value, np.ndarray):
            self.lib.spec_reals(self.spec, key, value.ctypes.data, len(value))
        elif isinstance(value, float):
            self.lib.spec_real(self.spec, key, value)
        else:
            self.lib.spec_int(self.spec, key, value)

    def __call__(self, *batches, layout="", apart=True):
        """Runs it on lists of samples, arguments last; returns arrays a sample, and the layouts."""
        kept, structs, outputs = [], (Batch * len(batches))(), []
        for k, (struct, samples) in enumerate(zip(structs, batches, strict=True)):
            gpu = k < len(self.devices) and self.devices[k] == "gpu"
            memories = [walled(np.asarray(s), at_end=i % 3 > 0) for i, s in enumerate(samples)]
            addresses = np.array([m.address for m in memories], np.int64)
            shapes = np.array([np.shape(s) for s in samples], np.int64).reshape(len(samples), -1)
            kept.append((memories, addresses, shapes))
            struct.gpu, struct.samples, struct.axes = gpu, len(samples), shapes.shape[1]
            struct.type = int(TYPES[memories[0].array.dtype.name])
            struct.shapes, struct.addresses = shapes.ctypes.data, addresses.ctypes.data
            struct.layout = layout.encode() if k == 0 and len(layout) == shapes.shape[1] else b""

        def allocate(output, samples, axes, shapes, kind, addresses):
            sizes = [tuple(shapes[i * axes : (i + 1) * axes]) for i in range(samples)]
            dtype = np.dtype(STORED.get(NAMES[kind], NAMES[kind]))
            if apart:
                made = [Walled(size, dtype, at_end=i % 2 == 0) for i, size in enumerate(sizes)]
                arrays = [memory.array for memory in made]
            else:
                made = Walled((samples, *sizes[0]), dtype)
                arrays = list(made.array)
            for i, array in enumerate(arrays):
                array.view(np.uint8)[...] = 0xCD
                addresses[i] = array.ctypes.data
            outputs.append((made, arrays))

        said = ctypes.create_string_buffer(100)
        names = (c_char_p * max(1, len(self.names)))(*(name.encode() for name in self.names))
        self.state.deferred, self.state.copies, self.state.launches = 1, 0, 0
        error = self.lib.operator_run(
            self.spec, structs, len(self.devices), names, len(self.names), ALLOCATE(allocate),
            STREAM, said,
        )  # fmt: skip
        for k, (memories, _, _) in enumerate(kept):  # what lay on the CPU may be gone by now
            if k >= len(self.devices) or self.devices[k] == "cpu":
                for memory in memories:
                    memory.array[...] = 99
        assert self.driver.stub_finish() == 0
        state = self.state
        assert state.contexts == state.relaxed == state.waits == 0
        # All operators of the process take turns in the same memory, in pieces of a few sizes.
        assert state.pinned <= 8 and state.allocations - state.tables <= 8
        check(error)
        if self.state.copies:
            assert self.state.stream == STREAM
        self.walls = [made for made, _ in outputs]
        return [[a.copy() for a in arrays] for _, arrays in outputs], said.value.decode().split(" ")


def plans_of(plan):
    return list(np.ascontiguousarray(plan).view(np.uint8).reshape(*plan.shape, 160))


def blend(tools):
    for seed, (source, dtype) in enumerate(KINDS):
        if dtype == "bfloat16":  # which DALI does not have
            continue
        for layout, apart, shape in [("CHW", True, (7, 5, 19, 3)), ("HWC", False, (31, 6, 32, 3))]:
            images = random_images(shape, source, seed)
            plan = every_kind_of_record(*shape[:3], seed=seed)
            options = options_of(images, dtype, seed)
            mirror = options.get("mirror")
            given = {key: options[key] for key in ("scale", "shift") if key in options}
            arguments = ["mirror"] if mirror is not None else []
            operator = Operator(
                tools, "msda__Blend", ["gpu", "cpu"], arguments, dtype=TYPES[dtype],
                output_layout=layout, **given,
            )  # fmt: skip
            batches = [list(images), plans_of(plan)]
            if arguments:
                batches.append([np.int32(flag) for flag in mirror])
            want = on_the_cpu(images, plan, dtype, layout, **options)
            for _ in range(2):
                (got,), layouts = operator(*batches, layout="HWC", apart=apart)
                assert_same(np.stack(got), want)
                assert layouts[0] == layout
                assert operator.state.copies == 1
                assert operator.state.launches == launches_of(plan, shape[-1])


def volumes(tools):
    """And interpolations, which have an axis of their own in front; batches of other sizes."""
    operator = Operator(tools, "msda__Blend", ["gpu", "cpu"], output_layout="CHW")
    for seed, size in enumerate([(3, 5, 7), (5, 3, 7), (2, 8, 8), (3, 5, 7)]):
        batch = 2 + seed
        volumes = random_images((batch, *size, 2), "uint8", seed)
        plan = msda.draw(msda.FMix(), batch, shape=size, seed=seed, step=0)
        want = msda.blend(volumes, plan, dtype="float32", layout="CHW")
        (got,), layouts = operator(list(volumes), plans_of(plan), layout="DHWC")
        np.testing.assert_array_equal(np.stack(got), want)
        assert layouts[0] == "CDHW"
    images = random_images((4, 9, 11, 3), "uint8")
    plan = msda.draw(msda.MultiMix(msda.FMix(), 3), 4, 9, 11, seed=1, step=0)
    (got,), layouts = operator(list(images), plans_of(plan), layout="HWC")
    want = msda.blend(images, plan, dtype="float32", layout="CHW")
    np.testing.assert_array_equal(np.stack(got), want)
    assert layouts[0] == "FCHW"


def targets(tools):
    rng = np.random.default_rng(0)
    for k in (None, 3):
        policy = msda.MultiMix(msda.CutMix(), k) if k else msda.Mixup(n=3)
        plan = msda.draw(policy, 6, 9, 11, seed=1, step=0)
        labels, rows = rng.integers(0, 11, 6), rng.random((6, 11), np.float32)
        for given in (labels, labels.astype(np.int32), rows):
            operator = Operator(
                tools, "msda__Targets", ["cpu", "cpu"], num_classes=11, smoothing=0.1
            )
            want = msda.targets(given.astype(rows.dtype if given.ndim > 1 else int), plan,
                                num_classes=11, smoothing=0.1)  # fmt: skip
            for apart in (True, False):
                (got,), _ = operator(list(given), plans_of(plan), apart=apart)
                np.testing.assert_array_equal(np.stack(got), want)
                assert operator.state.copies == 1
                assert apart or operator.state.launches == 1
        columns = 2 if k else 3
        operator = Operator(
            tools, "msda__Targets", ["cpu", "cpu"], outputs=2, compact=True, sources=columns
        )
        wants = msda.targets(labels, plan, compact=True)
        for apart in (True, False):
            gots, _ = operator([np.int64([label]) for label in labels], plans_of(plan), apart=apart)
            for got, want in zip(gots, wants, strict=True):
                np.testing.assert_array_equal(np.stack(got), want[..., :columns])
            assert operator.state.launches == 0 and (apart or operator.state.copies == 2)


def saliency(tools):
    sizes = [(9, 40, 3), (9, 40, 3), (33, 12, 3), (33, 12, 1), (9, 40, 3)]
    for source in ("uint8", "float32"):
        images = [random_images((1, *size), source, i)[0] for i, size in enumerate(sizes)]
        flags = [1, 0, 1, 1, 0]
        for maps, mirror, apart in [(True, True, True), (False, False, True), (False, True, False)]:
            operator = Operator(
                tools, "msda__Saliency", ["gpu"], ["mirror"] if mirror else [],
                outputs=1 + maps, maps=maps,
            )  # fmt: skip
            batches = [images, [np.int32(flag) for flag in flags]] if mirror else [images]
            (peaks, *found), layouts = operator(*batches, layout="HWC", apart=apart)
            assert apart or operator.state.launches == 4  # runs of one size
            for i, image in enumerate(images):
                given = [flags[i]] if mirror else None
                want, want_map = msda.saliency(image[None], maps=True, mirror=given)
                np.testing.assert_array_equal(peaks[i], want[0])
                if maps:
                    np.testing.assert_array_equal(found[0][i], want_map[0])
                    assert layouts[1] == "HW"


def errors(tools):
    """What is wrong is told before anything is asked of the device; what fails there, after."""
    operator = Operator(tools, "msda__Blend", ["gpu", "cpu"])
    images, plan = random_images((4, 6, 7, 3), "uint8"), every_kind_of_record(4, 7, 6)
    state = operator.state
    for batches, text in [
        ((list(images), plans_of(plan)), "expected a plan for images of 6 x 7, got one for 7 x 6"),
        (([*images[:3], images[3][:5]], plans_of(plan)), "images: expected one shape in a batch"),
    ]:
        try:
            operator(*batches, layout="HWC")
            raise AssertionError("no error")
        except RuntimeError as error:
            assert text in str(error), error
        assert (state.copies, state.launches) == (0, 0)
    good = list(images), plans_of(every_kind_of_record(4, 6, 7))
    for failing in (1, 2):
        state.failing = failing
        try:
            operator(*good, layout="HWC")
            raise AssertionError("no error")
        except RuntimeError as error:
            assert "CUDA: stub error (719); see `python -m dali_msda doctor`" in str(error), error
        state.failing = 0
        operator(*good, layout="HWC")
    nvrtc.cubin = None  # code is asked for once in a process
    Operator(tools, "msda__Blend", ["gpu", "cpu"])


def code(tools):
    """An error of NVRTC is the operator's."""

    def refuse(source, arch):
        raise RuntimeError(f"NVRTC: not found, for {source} and {arch}")

    nvrtc.cubin = refuse
    try:
        Operator(tools, "msda__Targets", ["cpu", "cpu"], num_classes=3)
        raise AssertionError("no error")
    except RuntimeError as error:
        assert "NVRTC: not found, for targets and sm_90" in str(error), error


if __name__ == "__main__":
    from pathlib import Path

    case, stub, workspace, folder = sys.argv[1:]
    assert dali.OPERATORS and cpu.library()
    globals()[case](loaded(stub, workspace, Path(folder)))
