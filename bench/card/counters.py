"""A kernel's memory, issue and occupancy as ncu counts them, a line of JSON for each launch."""

import argparse
import csv
import io
import json
import subprocess
import sys

from bench.card.parts import NCU, program

METRICS = {
    "kernel_ms": "gpu__time_duration.sum",
    "dram_percent": "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "dram_read": "dram__bytes_read.sum",
    "dram_written": "dram__bytes_write.sum",
    "sm_percent": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "issue_percent": "smsp__issue_active.avg.pct_of_peak_sustained_active",
    "instructions": "smsp__inst_executed.sum",
    "warps_percent": "sm__warps_active.avg.pct_of_peak_sustained_active",
    "registers": "launch__registers_per_thread",
    "threads": "launch__block_size",
    "blocks": "launch__grid_size",
}
SCALE = {"nsecond": 1e-6, "ns": 1e-6, "usecond": 1e-3, "us": 1e-3, "msecond": 1, "ms": 1}
SCALE |= {"byte": 1, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}
BATCH, SIZE = 256, 224


def work() -> None:
    """Blends and masks, each once; ncu runs this."""
    import torch

    import dali_msda as msda
    from bench.memory import normalisation, pixels

    images = torch.from_numpy(pixels(BATCH, SIZE, SIZE, 3)).cuda()
    for policy in (msda.Mixup(), msda.CutMix(), msda.FMix(), msda.GMix()):
        plan = msda.draw(policy, BATCH, SIZE, SIZE, seed=0, step=0)
        for dtype in ("float16", "float32"):
            msda.blend(images, plan, layout="CHW", **normalisation(dtype))
    torch.cuda.synchronize()


def lines(text: str) -> list[dict[str, object]]:
    """What ncu's table says, a line for each launch.

    Args:
        text: Its output with ``--csv --page raw``: other lines, then names, units, and launches.

    Raises:
        ValueError: If there is no table, or none of its launches.
    """
    start = text.find('"ID"')
    rows = list(csv.DictReader(io.StringIO(text[start:]))) if start >= 0 else []
    if len(rows) < 2:
        raise ValueError(f"ncu: expected a table, got {text.strip()[-300:]!r}")
    units, *launches = rows
    made = []
    for number, launch in enumerate(launches):
        kernel = launch["Kernel Name"].split("(")[0]
        line = {"bench": "counters", "case": {"kernel": kernel, "launch": number}}
        for name, metric in METRICS.items():
            if launch.get(metric):
                value = float(launch[metric].replace(",", ""))
                line[name] = value * SCALE.get(units.get(metric, ""), 1)
        made.append(line)
    return made


def main(argv: list[str] | None = None) -> int:
    """Runs this module under ncu and prints the lines."""
    parser = argparse.ArgumentParser(prog="python -m bench.card.counters", description=__doc__)
    parser.add_argument("--work", action="store_true", help="do what is measured")
    if parser.parse_args(argv).work:
        work()
        return 0
    try:
        ncu = program(NCU)
    except FileNotFoundError as error:
        print(error)
        return 1
    command = [ncu, "--csv", "--page", "raw", "--kernel-name", "regex:msda_"]
    command += ["--clock-control", "none"]  # the clock of the other measurements
    command += ["--metrics", ",".join(METRICS.values())]
    command += [sys.executable, "-m", "bench.card.counters", "--work"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout[-2000:])
        return done.returncode
    for line in lines(done.stdout):
        print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
