"""Reads PTX, the text that NVRTC makes of a kernel: one statement a line."""

import functools
import re
from dataclasses import dataclass, field


class Unknown(ValueError):
    """PTX that this translation does not know, and so must not guess at."""


@dataclass
class Step:
    """An instruction, ``@guard opcode operands;``, and the labels that stand before it."""

    line: int
    guard: str  # "", "%p1" or "!%p1"
    opcode: str
    operands: list[str]
    labels: list[str]

    @property
    def ends_a_block(self):
        return self.opcode.split(".")[0] in ("bra", "ret", "exit", "bar")


@dataclass
class Entry:
    """An entry point."""

    name: str
    registers: dict[str, str] = field(default_factory=dict)  # "b32" by "%r1"
    shared: dict[str, int] = field(default_factory=dict)  # offsets of what lies in shared memory
    used: int = 0  # bytes of shared memory, without what the launch adds
    steps: list[Step] = field(default_factory=list)

    @functools.cached_property
    def blocks(self):
        """Its instructions in runs that are entered at their start only and left at their end."""
        found, ended = [], True
        for step in self.steps:
            if ended or step.labels:
                found.append([])
            found[-1].append(step)
            ended = step.ends_a_block
        return found


HEADER = re.compile(
    r"\.version [\d.]+|\.target sm_\w+|\.address_size 64|\.(maxntid|minnctapersm) [\d, ]+|[(){}]?"
)
CONSTANT = re.compile(r"\.global [^;]*;")  # an operand that names one is not known
DYNAMIC = re.compile(r"\.extern \.shared \.align 16 \.b8 (\w+)\[\];")
ENTRY = re.compile(r"\.visible \.entry (\w+)\(")
REGISTERS = re.compile(r"\.reg \.(\w+)\s+(%\w+)<(\d+)>;")
SCOPED = re.compile(r"\.reg \.(\w+)\s+(%\w+);")  # within braces, whatever lies around them
SHARED = re.compile(r"\.shared \.align (\d+) \.[a-z](\d+) (\w+)(?:\[(\d+)\])?;")
PASSED_OVER = re.compile(
    r'\.param \.align \d+ \.b8 \w+_param_0\[\d+\]|\.pragma "(nounroll|used_bytes_mask \w+)";'
)
LABEL = re.compile(r"\$(\w+):")
STEP = re.compile(r"(?:@(!?%\w+)\s+)?([a-z][\w.:]*)(?:\s+(.*?))?\s*;")
# A part of a register that nobody reads; PTX also writes it "_".
UNREAD = re.compile(r"\{ \.reg \.b\d+ tmp; (mov\.b\d+ \{[^}]*\}, %\w+;) \}")


def entries(text):
    """The entry points of a PTX file, by name; what is not known raises :class:`Unknown`."""
    found, dynamic, entry, labels, scoped = {}, [], None, [], {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("//")[0].strip()
        if m := UNREAD.fullmatch(line):
            line = re.sub(r"\btmp\b", "_", m[1])
        if m := ENTRY.fullmatch(line):
            entry = found[m[1]] = Entry(m[1])
        if line == "}":
            scoped = {}
        if HEADER.fullmatch(line) or CONSTANT.fullmatch(line) or ENTRY.fullmatch(line):
            continue
        if m := DYNAMIC.fullmatch(line):
            dynamic.append(m[1])
        elif not entry:
            raise Unknown(f"line {number}: unknown directive {line!r}")
        elif m := REGISTERS.fullmatch(line):
            entry.registers |= {f"{m[2]}{i}": m[1] for i in range(int(m[3]))}
        elif m := SCOPED.fullmatch(line):
            scoped[m[2]] = f"%scoped_{m[2][1:]}"
            entry.registers[scoped[m[2]]] = m[1]
        elif m := SHARED.fullmatch(line):
            start = -(-entry.used // int(m[1])) * int(m[1])
            entry.shared[m[3]] = start
            entry.used = start + int(m[2]) // 8 * int(m[4] or 1)
        elif m := LABEL.fullmatch(line):
            labels.append(m[1])
        elif m := STEP.fullmatch(_renamed(line, scoped)):
            entry.steps.append(Step(number, m[1] or "", m[2], operands(m[3] or ""), labels))
            labels = []
        elif not PASSED_OVER.fullmatch(line):
            raise Unknown(f"{entry.name}, line {number}: unknown directive {line!r}")
    for entry in found.values():
        entry.used = -(-entry.used // 16) * 16
        entry.shared |= dict.fromkeys(dynamic, entry.used)
    return found


def _renamed(line, names):
    """The line with other names for some registers."""
    return re.sub(r"%\w+", lambda name: names.get(name[0], name[0]), line)


def operands(text):
    """Splits ``a, {b, c}, [d+4]`` at the commas outside of braces."""
    return [part.strip() for part in re.findall(r"(?:\{[^}]*\}|[^,{])+", text)]
