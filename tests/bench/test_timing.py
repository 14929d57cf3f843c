"""How times are taken: by turns, of all processes, and between a GPU's events."""

import itertools
import multiprocessing
import time

from bench import gpu_timing, timing
from bench.memory import Host
from tests.bench.small_cases import FakeGpu


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


def test_waiting_is_the_share_between_the_first_two_marks():
    from bench.suites import training

    assert training.waited(Host(), [(0.0, 1.0, 4.0), (4.0, 4.5, 6.0)]) == 0.25
