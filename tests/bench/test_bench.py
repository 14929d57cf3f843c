"""The benchmarks: what is listed, measured, compared and reported. No time is asserted."""

import importlib.util
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import dali_msda as msda
from bench import cases, compare, gpu_timing, records, report, run, summary, timing
from bench.__main__ import main
from bench.cases import Case, Mismatch
from bench.memory import Host, normalisation
from bench.peers import checks, suite
from bench.suites import blend, loaders
from dali_msda.backends import cuda_arrays, driver
from tests.cuda.host_gpu import HostArray, install

ROOT = Path(__file__).parents[2]
TINY = {  # parameters that make a case of each module small
    "blend": {"batch": 2, "size": 16},
    "fields": {"size": 32},
    "multimix": {"batch": 2, "size": 16},
    "saliency": {"batch": 2, "size": 16},
    "targets": {"batch": 4, "classes": 10},
    "losses": {"batch": 4, "classes": 10},
    "peers": {"batch": 16, "size": 16},
    "pipeline": {"batch": 4, "size": 16},
    "loaders": {"batch": 2, "size": 32},
    "training": {"batch": 2, "size": 32},
    "startup": {},
    "scaling": {"axis": "classes"},
    "calls": {"what": "draw"},
}
NEEDED = {"bench", "case", "of", "ms", "spread", "repeats", "clock", "per_s", "unit", "others",
          "figures", "versions", "commit", "machine"}  # fmt: skip


def one(bench, **changed):
    """The first case of a module, with other parameters."""
    table = importlib.import_module(cases.MODULES[bench]).TABLES["default"][0]
    row = next(cases.expand([table]))
    return Case(bench, tuple({**row, **TINY[bench], **changed}.items()))


@pytest.fixture(autouse=True)
def threads_of_torch():
    torch = pytest.importorskip("torch")
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


@pytest.fixture
def photographs(monkeypatch, tmp_path):
    demo_data = pytest.importorskip("dali_msda.pipelines.data.demo_data")
    make = demo_data.make
    monkeypatch.setattr(demo_data, "make", lambda folder: make(folder, per_class=3))
    monkeypatch.setattr(loaders, "PHOTOGRAPHS", tmp_path / "jpegs")
    # A benchmark ends with its process. Here its loaders are closed: the garbage collector, which
    # may take the queues of torch's workers first, would wait five seconds for each of them.
    epochs = pytest.importorskip("dali_msda.pipelines.loaders.epochs").Epochs
    opened, init = [], epochs.__init__

    def remembered(self, *how, **more):
        opened.append(self)
        init(self, *how, **more)

    monkeypatch.setattr(epochs, "__init__", remembered)
    yield
    for each in opened:
        each.close()


@pytest.mark.parametrize("bench", cases.MODULES)
def test_a_case_of_each_module_gives_a_whole_line(bench, photographs):
    made = run.here(one(bench), 2)
    assert made.keys() >= NEEDED, made
    assert made["bench"] == bench and made["repeats"] == 2 and made["ms"] > 0
    assert json.loads(json.dumps(made)) == made
    if bench not in ("loaders", "training", "startup", "scaling", "calls"):
        assert made.keys() >= {"moved_mb", "gb_s", "copy_gb_s", "share"}
        assert made["share"] == pytest.approx(made["gb_s"] / made["copy_gb_s"], rel=2e-3)
    for other in made["others"].values():
        rate = made["ms"] / made["items"], other["ms"] / other["items"]
        assert other["times"] == pytest.approx(rate[1] / rate[0], rel=2e-3)
    assert made["versions"]["numpy"] == np.__version__


PEERS = [("timm.Mixup", "cutmix", "pair"), ("timm.FastCollateMixup", "cutmix", "sample"),
         ("timm.FastCollateMixup", "mixup", "batch"), ("torchvision.v2", "mixup", "batch"),
         ("torchvision.v2", "cutmix", "batch"), ("kornia.V2", "mixup", "sample"),
         ("kornia.V2", "cutmix", "sample"), ("dali.operators", "mixup", "batch"),
         ("timm.Mixup+fused", "mixup", "sample")]  # fmt: skip


@pytest.mark.parametrize(("peer", "method", "scope"), PEERS)
def test_peers_do_the_same_work(peer, method, scope):
    made = run.here(one("peers", peer=peer, method=method, scope=scope), 2)
    if "skipped" in made:
        pytest.skip(made["skipped"])
    assert peer in made["others"] and made["of"] == "ours", made


@pytest.mark.parametrize("kind", ["ffcv", "torch"])
def test_epochs_of_other_loaders(kind, photographs):
    made = run.here(one("loaders", loader=kind), 2)
    if "skipped" in made:
        pytest.skip(made["skipped"])
    assert made.keys() >= NEEDED and made["clock"] == "wall", made
    assert made["others"].keys() == {"without", *(["own"] if kind == "ffcv" else [])}
    assert made["items"] == 48  # three photographs of 16 classes


def test_a_case_in_a_process_of_its_own():
    if not importlib.util.find_spec("timm"):
        pytest.skip("timm is not installed")
    made = run._apart(one("peers", allocator="tuned"), 2)
    assert made["case"]["allocator"] == "tuned" and "timm.Mixup" in made["others"], made
    assert made["machine"]["cores"] == 1 and made["versions"]["timm"]
    broken = run._apart(one("peers", allocator="tuned", peer="nobody's"), 2)
    assert "KeyError" in broken["failed"]


def test_copies_are_made_past_the_caches_but_not_those_of_libraries(monkeypatch, tmp_path):
    """What is measured in a process of its own has the C library as it is, or as a user set it."""
    seen = []
    monkeypatch.setattr(run.subprocess, "run", lambda *_, env, **__: seen.append(env) or 1 / 0)
    for value in (*run.STREAMING.values(), "glibc.malloc.check=1"):
        monkeypatch.setenv("GLIBC_TUNABLES", value)
        with pytest.raises(ZeroDivisionError):
            run._apart(one("peers"), 2)
    assert "GLIBC_TUNABLES" not in seen[0] and seen[1]["GLIBC_TUNABLES"] == "glibc.malloc.check=1"

    monkeypatch.undo()
    environment = {k: v for k, v in os.environ.items() if k not in run.STREAMING}
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nprint(os.environ.get('GLIBC_TUNABLES'), file=sys.stderr)"
    )
    environment["PYTHONPATH"] = str(tmp_path)
    command = [sys.executable, "-m", "bench", "list", "-k", "blend quick method=mixup"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stderr.split()[:2] == ["None", *run.STREAMING.values()]


def test_levels_hold_one_another_and_names_are_unique():
    for device in ("cpu", "cuda"):
        quick, default, everything = (cases.select("", level, device) for level in cases.LEVELS)
        keys = [{frozenset(case.parameters) | {case.bench} for case in level}
                for level in (quick, default, everything)]  # fmt: skip
        assert keys[0] < keys[1] < keys[2]
        assert len(keys[2]) == len(everything) == len({case.name for case in everything})
    assert {case.bench for case in cases.select("", "all")} == set(cases.MODULES)


def test_selection_by_words():
    found = cases.select("blend float16 threads=1", "quick")
    assert [case["method"] for case in found] == ["mixup", "cutmix", "fmix"]
    with pytest.raises(
        ValueError, match="-k: expected words of a case's name, got 'blend nothing'"
    ):
        cases.select("blend nothing")


def test_tables_expand_to_products():
    table = {"method": ("a", "b"), "size": 3, "threads": ("all", 1)}
    rows = list(cases.expand([table]))
    assert [row["method"] for row in rows] == ["a", "a", "b", "b"]
    assert {row["threads"] for row in rows} == {1, len(os.sched_getaffinity(0))}
    assert all(row["device"] == "cpu" and row["size"] == 3 for row in rows)


def test_listing_and_running_from_the_command_line(tmp_path, capsys):
    assert main(["list", "-k", "targets"]) == 0
    assert capsys.readouterr().out.count("targets device=cpu") == 2
    file = tmp_path / "new" / "lines.jsonl"
    for _ in range(2):  # appends; of lines about one case the last counts
        assert main(["-k", "targets classes=10 ", "--repeats", "2", "--out", str(file)]) == 0
    assert len(file.read_text().splitlines()) == 4 and len(records.read(file)) == 2
    assert main(["--repeats", "0"]) == 1
    assert main(["--fmix-repo", str(tmp_path)]) == 1
    assert "expected a folder with fmix.py or mixup.py" in capsys.readouterr().err


def test_what_is_missing_is_said(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "kornia.augmentation", None)
    made = run.here(one("peers", peer="kornia.V2"), 2)
    assert "kornia" in made["skipped"] and "ms" not in made
    made = run.here(one("peers", peer="released.FMix", method="fmix"), 2)
    assert "--fmix-repo DIR" in made["skipped"]
    if gpu_there():
        return
    assert main(["-k", "targets", "--device", "cuda"]) == 0  # skipped is no failure
    assert "no GPU" in json.loads(capsys.readouterr().out.splitlines()[0])["skipped"]


def gpu_there():
    try:
        return gpu_timing.found() is not None
    except cases.Missing:
        return False


def test_a_failure_is_a_line_and_an_exit_code(monkeypatch, capsys):
    from bench.suites import targets

    monkeypatch.setattr(targets, "_check", lambda *given: 1 / 0)
    assert main(["-k", "targets classes=10 ", "--repeats", "2"]) == 1
    assert "ZeroDivisionError" in json.loads(capsys.readouterr().out.splitlines()[0])["failed"]


def test_released_code_is_imported_from_where_it_lies(monkeypatch, tmp_path):
    """A checkout that makes masks of another share of the pixels is found out."""
    from bench.peers import released

    code = "import numpy as np\ndef sample_mask(alpha, decay, shape, max_soft=0.0):\n"
    code += "    mask = np.zeros((1, *shape)); mask[:, : shape[0] // 2] = 1; return {}, mask\n"
    for lam in ("0.5", "0.6"):
        folder = tmp_path / lam
        folder.mkdir()
        (folder / "fmix.py").write_text(code.format(lam))
        monkeypatch.setattr(released, "CHECKOUTS", [folder])
        made = run.here(one("fields"), 2)
        assert ("released" in made.get("others", {})) == (lam == "0.5")
        assert ("outputs differ" in made.get("failed", "")) == (lam == "0.6")


# What peers return is checked.


def ours(method, batch=8, size=24, seed=3):
    images, labels = checks.samples(batch, size, size), np.arange(batch)
    options = {"layout": "CHW", **normalisation("float32")}
    policy = suite.POLICIES[method]
    mixed, rows = msda.mix(images, labels, policy, seed=seed, step=0, num_classes=50, **options)
    return images, mixed, rows


def shifted(mixed, rows):
    mixed[3, :, 5:9, 7:11] += 0.01


def other_labels(mixed, rows):
    rows[:] = rows[::-1].copy()


def own_labels(mixed, rows):
    rows[:] = np.eye(*rows.shape)


def swapped_weights(mixed, rows):
    for row in rows:
        first, second = np.argsort(row)[-2:]
        row[first], row[second] = row[second], row[first]


def no_sum(mixed, rows):
    rows[2] *= 0.9


def one_image_unmixed(mixed, rows):
    i = int(np.argmin(np.diag(rows)))  # the one with the most of its partner
    mixed[i] = normalised(checks.samples(len(rows), *mixed.shape[2:]))[i]


def normalised(images):
    options = {"layout": "CHW", **normalisation("float32")}
    plan = msda.draw(msda.Mixup(prob=0.0), *images.shape[:3], seed=0, step=0)
    return msda.blend(images, plan, **options)


def not_normalised(mixed, rows):
    mixed *= 58.0


def mirrored(mixed, rows):
    mixed[:] = mixed[..., ::-1].copy()


ALTERED = [shifted, other_labels, own_labels, swapped_weights, no_sum, one_image_unmixed,
           not_normalised, mirrored]  # fmt: skip


@pytest.mark.parametrize("method", suite.POLICIES)
def test_what_is_right_passes(method):
    for seed in range(40):
        images, mixed, rows = ours(method, seed=seed)
        checks.check(images, method, mixed, rows)


def test_samples_differ_in_every_pixel():
    made = checks.samples(suite.CHECKED, 5, 7).astype(float)
    apart = np.sqrt(((made[:, None] - made[None]) ** 2).sum(-1)).min((2, 3))
    assert apart[~np.eye(len(made), dtype=bool)].min() > checks.CLEAR


@pytest.mark.parametrize("alter", ALTERED, ids=lambda alter: alter.__name__)
@pytest.mark.parametrize("method", suite.POLICIES)
def test_what_is_altered_does_not(method, alter):
    images, mixed, rows = ours(method)
    alter(mixed, rows)
    with pytest.raises(Mismatch):
        checks.check(images, method, mixed, rows)


def test_types_and_shapes_of_a_peer():
    images, mixed, rows = ours("mixup")
    for wrong in (mixed.astype(np.float64), mixed.transpose(0, 2, 3, 1), mixed[:4]):
        with pytest.raises(Mismatch, match="images: expected"):
            checks.check(images, "mixup", wrong, rows)
    with pytest.raises(Mismatch, match="targets: expected"):
        checks.check(images, "mixup", mixed, rows.astype(np.float64))


def test_a_box_of_another_method_is_no_mixup():
    images, mixed, rows = ours("cutmix")
    with pytest.raises(Mismatch, match="mixup: expected the label's weight"):
        checks.check(images, "mixup", mixed, rows)
    images, mixed, rows = ours("mixup")
    with pytest.raises(Mismatch, match="got a mixture"):
        checks.check(images, "cutmix", mixed, rows)


def test_a_peer_that_errs_is_not_timed(monkeypatch):
    def wrong(images, labels, case):
        def work():
            mixed, rows = suite.ours(images, labels, case)()
            return mixed, rows[::-1].copy()

        return work

    monkeypatch.setitem(suite.MAKERS, "timm.Mixup", wrong)
    made = run.here(one("peers"), 2)
    assert made["failed"].startswith("outputs differ") and "ms" not in made


# Times.


def test_measure_takes_turns_and_repeats_short_runs():
    order = []
    runs = {name: lambda name=name: order.append(name) for name in "ab"}
    times = timing.measure(runs, 3, loops=False)
    assert "".join(order) == "ab" * 4  # the first turn warms up
    assert len(times["a"].wall) == len(times["b"].cpu) == 3
    count = itertools.count()
    timing.measure({"short": lambda: next(count)}, 3)
    assert next(count) > 100


def work_for_a_while(begin, done, leave):
    begin.wait()
    start = time.process_time()
    while time.process_time() - start < 0.2:
        pass
    done.set()
    leave.wait()


def test_cpu_time_is_that_of_the_workers_too():
    context = multiprocessing.get_context("fork")
    begin, done, leave = (context.Event() for _ in range(3))
    worker = context.Process(target=work_for_a_while, args=(begin, done, leave))
    worker.start()
    before, mine = timing.worked(), time.process_time()
    begin.set()
    done.wait()
    taken, mine = timing.worked() - before, time.process_time() - mine
    leave.set()
    worker.join()
    assert 0.2 <= taken - mine < 0.3


def test_output_memory_is_aligned():
    for dtype in ("uint8", "float16", "float32"):
        made = Host().empty((3, 5, 7), dtype)
        assert made.ctypes.data % 64 == 0 and made.shape == (3, 5, 7) and made.dtype == dtype


class FakeGpu:
    """A GPU that is none, whose clock every call moves by a microsecond."""

    def __init__(self):
        self.done, self.now = [], 0.0

    def put(self, values):
        return HostArray(np.ascontiguousarray(values))

    def empty(self, shape, dtype):
        return HostArray(np.zeros(shape, {"bfloat16": "uint16"}.get(dtype, dtype)))

    def copy(self, moved, threads=1):
        return lambda: self.work("copy", moved / 1e9)

    def work(self, name, seconds):
        self.done.append(name)
        self.now += seconds

    def flush(self):
        self.work("flush", 1.0)

    def mark(self):
        self.work("mark", 1e-6)
        return self.now

    def seconds(self, start, end):
        return end - start

    def wait(self):
        self.work("wait", 0.0)

    def captured(self, run):
        self.work("capture", 0.0)
        run()
        return lambda: (self.work("replay", 1e-6), run())

    def used(self):
        return 1000 * len(self.done)

    def about(self):
        return {"gpu": "none", "driver": "1.2", "cuda": "3.4"}


def test_a_gpus_turn_flushes_and_stands_between_events():
    there = FakeGpu()
    runs = {"graph": lambda: there.work("run", 0.25), "called": lambda: there.work("call", 0.5)}
    times = gpu_timing.measure(runs, 2, there, frozenset({"called"}))
    assert [round(value, 3) for value in times["graph"].gpu] == [0.25, 0.25]
    assert [round(value, 3) for value in times["called"].gpu] == [0.5, 0.5]
    done = " ".join(there.done)
    assert done.count("capture") == 1
    timed = "flush mark replay run mark wait flush wait run wait"
    timed += " flush mark call mark wait flush wait call wait"
    assert done.endswith(" ".join([timed] * 3))
    assert len(times["called"].wall) == 2  # none of the flush's second is in them
    assert max(times["called"].wall) < 1


@pytest.fixture
def fake(monkeypatch):
    install(monkeypatch)
    there = FakeGpu()
    monkeypatch.setattr(gpu_timing, "found", lambda: there)
    return there


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


def test_masks_of_fmix_are_made_before_they_are_read(fake):
    """Both candidates write what the user's call writes; one makes masks, the other does not."""
    device = driver.device(0)
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


class FakeTorchGpu(FakeGpu):
    """The same for torch; what lies there is on the CPU."""

    device, index = "cpu", None

    def __init__(self):
        super().__init__()
        self.torch = pytest.importorskip("torch")


@pytest.fixture
def fake_of_torch(monkeypatch):
    there = FakeTorchGpu()
    monkeypatch.setattr(gpu_timing, "found", lambda: there)
    return there


@pytest.mark.parametrize("kind", loaders.LOADERS)
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


@pytest.mark.parametrize("kind", loaders.LOADERS)
def test_steps_on_a_gpu(kind, photographs, fake_of_torch, monkeypatch):
    from bench.suites import training

    monkeypatch.setitem(training.STEPS, "cuda", 2)
    made = run.here(one("training", device="cuda", loader=kind, dtype="float16", threads=1), 2)
    if "skipped" in made:
        pytest.skip(made["skipped"])
    assert made.keys() >= NEEDED and made["clock"] == "wall" and made["items"] == 4, made
    # Every mark is a microsecond after the one before, so that both parts of a step are as long.
    assert made["figures"]["wait_mixing"] == made["figures"]["wait_without"] == 0.5


def test_waiting_is_the_share_between_the_first_two_marks():
    from bench.suites import training

    assert training.waited(Host(), [(0.0, 1.0, 4.0), (4.0, 4.5, 6.0)]) == 0.25


def test_a_loader_that_is_not_there_is_said(photographs, fake_of_torch, monkeypatch):
    for kind, module in [("dali", "imagenet"), ("ffcv", "ffcv_imagenet")]:
        monkeypatch.setitem(sys.modules, f"dali_msda.pipelines.{module}", None)
        for bench in ("loaders", "training"):
            made = run.here(one(bench, device="cuda", loader=kind), 2)
            assert made["skipped"].startswith(f"{kind}: "), made
    monkeypatch.setitem(sys.modules, "dali_msda.pipelines", None)
    made = run.here(one("loaders", device="cuda", loader="torch"), 2)
    assert made["skipped"].startswith("pipelines: ")


def test_photographs_by_turns(photographs):
    once, more = loaders.photographs(), loaders.photographs(100)
    assert len(once.files) == 48 and len(more.files) == 100
    assert more.files == (once.files * 3)[:100] and more.labels == (once.labels * 3)[:100]


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
    there = ("blend", "fields", "targets", "calls", "peers", "losses", "loaders", "training")
    for case in cases.select("", "all", "cuda"):
        assert case.bench in there
        assert case["device"] == "cuda"


# Lines, compared and reported.


def line(bench="blend", ms=10.0, spread=0.02, copy=20.0, **case):
    made = {"bench": bench, "case": {"device": "cpu", **case}, "clock": "cpu", "of": "ours"}
    made |= {"ms": ms, "spread": spread, "cpu_ms": ms, "repeats": 15, "items": 4, "unit": "images"}
    made |= {"per_s": 4e3 / ms, "moved_mb": 1.0, "gb_s": 1 / ms, "copy_gb_s": copy, "share": 0.5}
    made |= {"copy_spread": 0.01, "others": {}, "figures": {}, "commit": "abc"}
    made["versions"], made["machine"] = {"numpy": "1"}, {"processor": "x", "isa": "y", "cores": 1}
    return made


def test_compare_flags_a_slowdown_and_not_noise(tmp_path, capsys):
    old = [line(size=size, ms=size, spread=0.03) for size in (10, 20, 30, 40, 50)]
    new = [
        line(size=10, ms=10.3, spread=0.03),  # within 5 %
        line(size=20, ms=26.0, spread=0.03),  # slower
        line(size=30, ms=20.0, spread=0.03),  # faster
        line(size=40, ms=48.0, spread=0.30),  # 20 %, but it varies by 30
        line(size=50, ms=100.0, spread=0.03, copy=10.0),  # slower, as the machine is
        line(size=60, ms=1.0),
    ]
    found = {change.name[-2:]: change.verdict for change in compare.changes(old, new)}
    assert found == {"10": "", "20": "slower", "30": "faster", "40": "",
                     "50": "slower, as the plain copy is"}  # fmt: skip
    for name, given in (("old", old), ("new", new)):
        (tmp_path / name).write_text("".join(json.dumps(made) + "\n" for made in given))
    assert main(["compare", str(tmp_path / "old"), str(tmp_path / "new")]) == 0
    out = capsys.readouterr().out
    assert (
        "5 cases in both, 3 beyond noise" in out and "not in both: blend device=cpu size=60" in out
    )
    assert main(["compare", str(tmp_path / "old"), str(tmp_path / "lost")]) == 1
    (tmp_path / "old").write_text("{}\n")
    assert main(["compare", str(tmp_path / "old"), str(tmp_path / "new")]) == 1
    assert "old:1: expected a line" in capsys.readouterr().err


def fixture():
    common = {"layout": "CHW", "batch": 256, "size": 224, "mirror": False}
    made = [
        line(method=method, dtype="float32", threads=threads, **common)
        for method in ("mixup", "cutmix")
        for threads in (1, 2)
    ]
    both = itertools.product(("a.Mixup", "b.Mixup"), ("default", "tuned"))
    for peer, allocator in (*both, ("once.Mixup", "default")):
        case = {"peer": peer, "method": "mixup", "scope": "sample", "allocator": allocator}
        made.append(line("peers", batch=256, size=224, dtype="float32", threads=1, **case))
        times = {"a": 20.0, "b": 10.0, "once": 5.0}[peer.removesuffix(".Mixup")]
        times /= 1 + (allocator == "tuned")
        made[-1]["others"][peer] = {"ms": 10 * times, "per_s": 123.4, "times": times, "items": 4}
    made.append(line("scaling", axis="size", method="mixup", threads=1))
    made[-1] |= {"of": "32", "figures": {"exponent": 0.9}}
    made[-1]["others"] = {"64": {"times": 3.5, "ms": 35.0}}
    made.append(line("loaders", policy="fmix", loader="dali"))
    made[-1]["others"]["without"] = {"times": 1.25, "ms": 12.5}
    made.append(line("loaders", policy="fmix", loader="torch", device="cuda", dtype="float16"))
    times = {"without": 1.0, "mixer": 0.5, "mixes nothing": 0.4}
    made[-1]["others"] = {name: {"times": value, "ms": 10.0} for name, value in times.items()}
    made[-1]["machine"] = {"gpu": "none", "driver": "1.2", "cuda": "3.4"}
    made.append(line("fields", mask="paper", size=224, threads=1))
    made[-1]["others"]["numpy64"] = {"times": 20.04, "ms": 1.0}
    skipped = line("peers", peer="c", allocator="default")
    made.append(
        {name: skipped[name] for name in ("bench", "case", "versions", "commit", "machine")}
    )
    made[-1]["skipped"] = "c: No module named 'c'"
    return made


def test_report_makes_files_from_lines_alone(tmp_path):
    pytest.importorskip("matplotlib")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{summary.BEGIN}\nold\n{summary.END}\nafter\n")
    written = report.write(fixture(), tmp_path / "results", readme)
    names = {path.name for path in written}
    assert names == {"REPORT.md", "README.md", "roofline-cpu.svg", "peers-cpu.svg", "scaling.svg",
                     "loaders.svg", "loaders-cuda.svg"}  # fmt: skip
    text = (tmp_path / "results" / "REPORT.md").read_text()
    assert "c: No module named 'c'" in text and "| mixup | 1 | 10 | 2% |" in text
    drawn = (tmp_path / "results" / "loaders-cuda.svg").read_text()
    assert "torch fmix float16, mixed on the GPU" in drawn and ">1.25<" in drawn.replace(" ", "")
    quoted = readme.read_text()
    assert quoted.startswith("before\n") and quoted.endswith("\nafter\n") and "old" not in quoted
    assert "| a.Mixup mixup, per sample | 123 | 20.0 | 10.0 |" in text
    assert "| once.Mixup mixup, per sample | 123 | 5.0 | |" in text
    assert "20.0 times those of the same algorithm" in text
    assert "JPEGs to mixed batches, dali: 80 % of the CPU time" in text
    figures = " ".join(quoted.split())
    assert "others: `once.Mixup` 5 times, `b.Mixup` 10 times, `a.Mixup` 20 times." in figures
    assert "tuned in their favour: `b.Mixup` 5 times, `a.Mixup` 10 times." in figures
    assert "**400 images a second** on one core" in figures
    assert "share of their time without mixing: DALI 80%." in figures
    first = {path: path.read_bytes() for path in written}
    report.write(fixture(), tmp_path / "results", readme)
    assert {path: path.read_bytes() for path in written} == first
    with pytest.raises(ValueError, match="expected the marks"):
        readme.write_text("none")
        report.write(fixture(), tmp_path, readme)
    with pytest.raises(ValueError, match="expected lines with figures"):
        report.write(fixture()[-1:], tmp_path)


def test_the_readme_quotes_the_lines():
    """Every figure of its part comes from the file of results beside."""
    text = (ROOT / "README.md").read_text()
    assert text.count(summary.BEGIN) == 1
    part = text[text.index(summary.BEGIN) : text.index(summary.END) + len(summary.END)]
    assert part == summary.first_page(records.read(records.CPU_FILE))
    assert (records.RESULTS / "peers-cpu.svg").is_file()
