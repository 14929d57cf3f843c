"""The suites' cases for a GPU, on one that is emulated or pretended."""

import sys

import numpy as np
import pytest

from bench import cases, gpu_timing, run
from bench.cases import Case
from bench.peers import checks, suite
from bench.suites import blend
from bench.suites.loaders import with_without
from dali_msda.backends import cuda_arrays
from tests.bench.small_cases import NEEDED, TINY, FakeTorchGpu, one
from tests.cuda.host_gpu import install


def test_cases_on_a_gpu(fake, monkeypatch):
    """The same cases, with device time; sizes shrink, since kernels are emulated here."""
    from bench.suites import calls, fields

    monkeypatch.setattr(calls, "BATCH", 3)
    on_gpu = fields.on_gpu
    monkeypatch.setattr(fields, "on_gpu", lambda policy, size, masks: on_gpu(policy, size, 2))
    cuda = {"device": "cuda", "threads": 0}
    for case in (
        one("blend", **cuda, method="fmix"),
        one("fields", **cuda, size=16),
        one("targets", **cuda),
        one("puzzle", **cuda, size=16, blocks=4, dtype="uint8"),
        one("calls", **cuda, what="launch", method="fmix"),
    ):
        made = run.here(case, 2)
        assert made.keys() >= NEEDED | {"share", "copy_gb_s"}, made
        assert made["clock"] == "gpu" and made["repeats"] == 2
        assert made["machine"]["gpu"] == "none" and made["machine"]["driver"] == "1.2"
        assert made["figures"]["memory_mb"] > 0
    assert "replay" in fake.done and "copy" in fake.done
    assert "those of torch" in run.here(one("peers", **cuda), 2)["skipped"]
    assert "of torch" in run.here(one("loaders", device="cuda"), 2)["skipped"]
    assert "of torch" in run.here(one("training", device="cuda"), 2)["skipped"]
    # Counted once on a GPU: each byte read, each byte written.
    made = run.here(one("blend", **cuda, method="mixup", dtype="float16"), 2)
    assert made["moved_mb"] == pytest.approx(2 * 16 * 16 * 3 * (1 + 2) / 1e6, rel=1e-3)


def test_masks_of_fmix_are_made_before_they_are_read(fake, device):
    """Both candidates write what the user's call writes; one makes masks, the other does not."""
    case = dict(one("blend", device="cuda", method="fmix", threads=0, dtype="float16").parameters)
    case |= {"mirror": True}
    for layout in ("CHW", "HWC"):
        shape = (2, 3, 16, 16) if layout == "CHW" else (2, 16, 16, 3)
        out = fake.empty(shape, "float16")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fake, "empty", lambda shape, dtype, out=out: out)
            job = blend.prepare(case | {"layout": layout})
        assert list(job.runs) == ["fmix", "with masks"]
        written = []
        for name, run_it in job.runs.items():
            device.launched.clear()
            out.values[...] = 0
            run_it()
            written.append(out.values.copy())
            assert ("msda_field_masks" in device.launched) == (name == "with masks")
        np.testing.assert_array_equal(*written)
        assert written[0].any()


@pytest.mark.parametrize("kind", with_without.LOADERS)
def test_epochs_that_end_on_a_gpu(kind, photographs, fake_of_torch):
    made = run.here(one("loaders", device="cuda", loader=kind, dtype="float16"), 2)
    if "skipped" in made:
        pytest.skip(made["skipped"])
    assert made.keys() >= NEEDED and made["clock"] == "wall" and made["of"] == "mixing", made
    others = {"without", *(["mixer", "mixes nothing"] if kind == "torch" else [])}
    assert made["others"].keys() == others and made["items"] == 48
    assert made["cpu_ms"] > 0 and made["figures"]["memory_mb"] > 0
    assert made["machine"]["gpu"] == "none"
    turns = 3 * (1 + len(others))  # each waits for the device, until nothing is under way
    assert set(fake_of_torch.done) == {"wait"} and len(fake_of_torch.done) >= 2 * turns


@pytest.mark.parametrize("kind", with_without.LOADERS)
def test_steps_on_a_gpu(kind, photographs, fake_of_torch, monkeypatch):
    from bench.suites import training

    monkeypatch.setitem(training.STEPS, "cuda", 2)
    made = run.here(one("training", device="cuda", loader=kind, dtype="float16", threads=1), 2)
    if "skipped" in made:
        pytest.skip(made["skipped"])
    assert made.keys() >= NEEDED and made["clock"] == "wall" and made["items"] == 4, made
    # Every mark is a microsecond after the one before, so that both parts of a step are as long.
    assert made["figures"]["wait_mixing"] == made["figures"]["wait_without"] == 0.5


def test_a_loader_that_is_not_there_is_said(photographs, fake_of_torch, monkeypatch):
    for kind in ["dali", "ffcv"]:
        monkeypatch.setitem(sys.modules, f"dali_msda.pipelines.loaders.{kind}", None)
        for bench in ("loaders", "training"):
            made = run.here(one(bench, device="cuda", loader=kind), 2)
            assert made["skipped"].startswith(f"{kind}: "), made
    monkeypatch.setitem(sys.modules, "dali_msda.pipelines.data", None)
    made = run.here(one("loaders", device="cuda", loader="torch"), 2)
    assert made["skipped"].startswith("pipelines: ")


PEERS_THERE = [case for case in cases.select("peers", "all", "cuda") if case["batch"] == 256]


@pytest.mark.parametrize("case", PEERS_THERE, ids=lambda case: case.name.replace(" ", "-"))
def test_peers_on_a_gpu(case, monkeypatch):
    """They mix there, nothing lies on the wrong side, and their outputs are checked."""
    pytest.importorskip("torch")
    from tests.cuda.pretend_cuda import PretendCuda, There

    theirs = cuda_arrays.empty, cuda_arrays.on_cpu
    install(monkeypatch)
    monkeypatch.setattr(cuda_arrays, "empty", theirs[0])
    monkeypatch.setattr(cuda_arrays, "on_cpu", theirs[1])

    class Pretended(FakeTorchGpu):
        def put(self, values):
            return self.torch.from_numpy(np.ascontiguousarray(values)).cuda()

        def empty(self, shape, dtype):
            return self.torch.empty(shape, dtype=getattr(self.torch, dtype), device="cuda")

    there = Pretended()
    monkeypatch.setattr(gpu_timing, "found", lambda: there)
    small = Case("peers", tuple((dict(case.parameters) | TINY["peers"]).items()))
    with PretendCuda():
        made = run.here(small, 2)
        if "skipped" in made:
            pytest.skip(made["skipped"])
        assert made["others"].keys() == {case["peer"], "ours replayed"}, made
        few = checks.samples(4, 16, 16)
        mixed, rows = suite.MAKERS[case["peer"]](few, np.arange(4), dict(small.parameters))()
        assert isinstance(mixed, There) and isinstance(rows, There)
    assert there.done.count("capture") == 2  # ours, and the copy; peers are called


def test_a_pretended_gpu_refuses_what_a_real_one_does():
    torch = pytest.importorskip("torch")
    from tests.cuda.pretend_cuda import PretendCuda, There

    with PretendCuda():
        there, here = torch.arange(3.0).cuda(), torch.ones(3)
        assert there.device.type == "cuda" and isinstance(torch.zeros(2, device="cuda"), There)
        assert there.mul_(2) is there and (there + 1.0).tolist() == [1, 3, 5]
        assert not isinstance(there.cpu(), There) and there.to("cpu").tolist() == [0, 2, 4]
        for both in (lambda: there + here, lambda: torch.where(here > 0, there, there)):
            with pytest.raises(RuntimeError, match="expected tensors on one device"):
                both()


def test_every_case_for_a_gpu_is_for_one():
    there = (
        "blend",
        "fields",
        "targets",
        "calls",
        "peers",
        "losses",
        "loaders",
        "training",
        "puzzle",
    )
    for case in cases.select("", "all", "cuda"):
        assert case.bench in there
        assert case["device"] == "cuda"
