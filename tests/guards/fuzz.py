"""Random calls of the array functions, in child processes: ``-m tests.guards.fuzz --calls N``.

A call may return, or raise ValueError, TypeError or MemoryError that reads "name: expected ...".
Anything else fails: a crash, a hang, another exception, an error that says something else. What is
printed then repeats it: ``-m tests.guards.fuzz --seed SEED [--torch]``.
"""

import argparse
import ctypes
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from tests.support import ROOT

A_PROCESS = 10_000  # calls
HANGS = 120  # seconds without a call that ends, many times what the longest takes
OURS = f"{ROOT}/"
ROOM = 3 << 30  # bytes of memory that a process may ask for beyond what it has at its start
HOUSE_FORM = re.compile(r"^[^\n:]{1,200}: ([^\n:]{1,60}: )*expected ")


def outcome(seed, folder, torch=None):
    """What is wrong with a call, or None."""
    from tests.guards.fuzz_calls import call

    try:
        call(seed, folder, torch)
    except (ValueError, TypeError) as error:
        if not HOUSE_FORM.match(str(error)):
            return f"not in the house form: {told(error)}"
    except MemoryError:
        return None
    except Exception as error:
        return f"an exception of another kind: {told(error)}"
    return None


def told(error):
    """An exception in one line, with the lines of the project that it came through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(OURS)]
    places = " < ".join(f"{f.filename.removeprefix(OURS)}:{f.lineno}" for f in frames[::-1][:3])
    return f"{type(error).__name__}: {str(error)[:200]!r} ({places})"


def work(first, last, at, use_torch, report):
    """Calls of a child process; ``at`` holds the seed of the present one."""
    warnings.simplefilter("ignore")
    torch = __import__("torch") if use_torch else None
    import dali_msda  # noqa: F401

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, last):
            at.value = seed
            wrong = outcome(seed, Path(folder), torch)
            if wrong:
                report.send(f"{named(seed, use_torch)}: {wrong}")
    report.send(None)


def named(seed, use_torch):
    """A call by the arguments that repeat it."""
    return f"--seed {seed}{' --torch' * use_torch}"


def supervise(first, last, use_torch):
    """Run the calls of one child process; the texts of all that is wrong."""
    context = multiprocessing.get_context("spawn")
    found = []
    while first < last:
        at = context.Value(ctypes.c_int64, first, lock=False)
        mine, theirs = context.Pipe(duplex=False)
        child = context.Process(target=work, args=(first, last, at, use_torch, theirs))
        child.start()
        theirs.close()
        seen, since, ended = first, time.monotonic(), False
        while not ended:
            if mine.poll(1):
                try:
                    text = mine.recv()
                except EOFError:
                    break
                ended = text is None
                found += [] if ended else [text]
            elif at.value != seen:
                seen, since = at.value, time.monotonic()
            elif time.monotonic() - since > HANGS:
                found.append(f"{named(seen, use_torch)}: hangs")
                child.kill()
                break
        child.join()
        if child.exitcode > 0:
            raise RuntimeError("the child process did not start; its own message stands above")
        if not ended and child.exitcode != -signal.SIGKILL:
            name = signal.Signals(-child.exitcode).name
            found.append(f"{named(at.value, use_torch)}: crashes ({name})")
        elif not ended and not found:
            found.append(f"{named(at.value, use_torch)}: was killed")
        first = last if ended else at.value + 1
    return found


def fuzz(calls, first, progress=False):
    """The texts of all that is wrong with so many calls from a seed on."""
    found = []
    for number, start in enumerate(range(first, first + calls, A_PROCESS)):
        last = min(start + A_PROCESS, first + calls)
        now = supervise(start, last, number % 2 == 1)
        found += now
        if progress:
            print(f"{last - first} calls, {len(found)} wrong", *now, sep="\n", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--first", type=int, help="first seed; by default the time decides")
    parser.add_argument("--seed", type=int, help="repeat one call, in this process")
    parser.add_argument("--torch", action="store_true", help="that one was made with torch")
    options = parser.parse_args()
    if options.seed is not None:
        torch = __import__("torch") if options.torch else None
        with tempfile.TemporaryDirectory() as folder:
            wrong = outcome(options.seed, Path(folder), torch)
        print(wrong or "nothing wrong")
        return bool(wrong)
    first = options.first if options.first is not None else int(time.time()) * 1000
    print(f"from seed {first} on", flush=True)
    found = fuzz(options.calls, first, progress=True)
    for text in found:
        print(text)
    print(
        f"{options.calls} calls, {len(found)} wrong; repeat with -m tests.guards.fuzz --seed SEED"
    )
    return bool(found)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
