"""A process of a training run up to its first batch: what it takes, in time and memory.

    python -m bench.scale.process '{"loader": "dali", "folder": "...", ...}'

It prints a line of seconds, waits for a line, and prints a line of megabytes.
"""

import importlib
import itertools
import json
import sys
import time
from pathlib import Path

MB = 1024  # kB, the unit of /proc


def main() -> None:
    """Do what the one argument says."""
    order = json.loads(sys.argv[1])
    marks = [order["started"], time.time()]
    loaders = importlib.import_module(f"dali_msda.pipelines.loaders.{order['loader']}")
    import dali_msda as msda
    from dali_msda.pipelines.data import datasets

    marks.append(time.time())
    source = datasets.find(order["folder"])
    marks.append(time.time())
    loader = loaders.TrainingLoader(
        source,
        batch_size=order["batch"],
        threads=order["threads"],
        policy=msda.CutMix(),
        shard_id=order["rank"],
        num_shards=order["ranks"],
    )
    marks.append(time.time())
    batches = iter(loader)
    next(batches)
    marks.append(time.time())
    loader.state_dict()  # what a checkpoint asks for; it knows the files again
    marks.append(time.time())
    names = ("python_s", "import_s", "find_s", "open_s", "batch_s", "state_s")
    seconds = [after - before for before, after in itertools.pairwise(marks)]
    print(json.dumps(dict(zip(names, seconds, strict=True))), flush=True)
    sys.stdin.readline()
    time.sleep(0.5)  # until workers have prepared all that they prepare ahead
    print(json.dumps(memory()), flush=True)
    del batches
    loader.close()


def memory() -> dict[str, float]:
    """Memory of this process and of its workers, MB, and the most that this process had.

    Pages that several processes share count in parts, which make one together.
    """
    own, *workers = map(_proportional, _family())
    status = Path("/proc/self/status").read_text().splitlines()
    (most,) = (int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    return {"main_mb": own / MB, "workers_mb": sum(workers) / MB, "peak_mb": most / MB}


def _family() -> list[str]:
    """Numbers of this process and of all that it has started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[path.parent.name] = path.read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has ended
            continue
    found = [str(Path("/proc/self").resolve().name)]
    for number in found:
        found += [child for child, parent in parents.items() if parent == number]
    return found


def _proportional(number: str) -> int:
    """The memory of a process, kB."""
    try:
        lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
