"""What the tests of the benchmarks share."""

import pytest

from bench import gpu_timing
from bench.suites.loaders import photographs as jpegs
from tests.bench.small_cases import FakeGpu, FakeTorchGpu
from tests.cuda.host_gpu import install


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
    monkeypatch.setattr(demo_data, "make", lambda folder, **_: make(folder, per_class=3))
    monkeypatch.setattr(jpegs, "FOLDER", tmp_path)
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


@pytest.fixture
def device(monkeypatch):
    return install(monkeypatch)


@pytest.fixture
def fake(monkeypatch, device):
    there = FakeGpu()
    monkeypatch.setattr(gpu_timing, "found", lambda: there)
    return there


@pytest.fixture
def fake_of_torch(monkeypatch):
    there = FakeTorchGpu()
    monkeypatch.setattr(gpu_timing, "found", lambda: there)
    return there
