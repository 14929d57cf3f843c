"""What each instruction of PTX does, as C++.

A register is an unsigned integer of its width (a predicate a bool), and an instruction's type says
how its bits are read. The meanings are those of the PTX ISA 9.0, chapter 9; a modifier that no rule
names, such as .ftz or .approx, makes an instruction unknown.
"""

import re

from tests.cuda.ptx.parse import Unknown, operands

INT = "(?P<T>[su](?:16|32|64))"
FLOAT = "(?P<T>f(?:32|64))"
WHOLE = "(?P<T>[sub](?:16|32|64))"
BITS = "(?P<T>b(?:16|32|64))"
ANY = "(?P<T>[busf](?:8|16|32|64)|pred)"
COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
OPPOSITE = {"equ": "ne", "neu": "eq", "ltu": "ge", "leu": "gt", "gtu": "le", "geu": "lt"}
UNSIGNED = {"lo": "<", "ls": "<=", "hi": ">", "hs": ">="}
ORDERED = "{0} == {0} && {1} == {1}"

# Opcode, types that are read, type that is written, C++. T is the opcode's type, U the unsigned
# integer of its width, W the integer that is twice as wide.
RULES = [
    (f"mov.{ANY}", "T", "T", "{0}"),
    ("cvta(.to)?.(global|shared|param).u64", ["u64"], "u64", "{0}"),
    (f"add.{INT}", "UU", "U", "{0} + {1}"),
    (f"sub.{INT}", "UU", "U", "{0} - {1}"),
    (f"neg.{INT}", "U", "U", "0 - {0}"),
    (f"abs.{INT}", "T", "T", "{0} < 0 ? -({W}){0} : {0}"),
    (f"mul.lo.{INT}", "UU", "U", "1u * {0} * {1}"),
    (f"mul.hi.{INT}", "TT", "T", "({W}){0} * {1} >> {bits}"),
    (f"mul.wide.{INT}", "TT", "W", "({W}){0} * {1}"),
    (f"mad.lo.{INT}", "UUU", "U", "1u * {0} * {1} + {2}"),
    (f"mad.wide.{INT}", "TTW", "W", "({W}){0} * {1} + {2}"),
    (f"div.{INT}", "TT", "T", "{1} ? ({W}){0} / {1} : ({W})-1"),
    (f"rem.{INT}", "TT", "T", "{1} ? ({W}){0} % {1} : {0}"),
    (f"min.{INT}", "TT", "T", "{0} < {1} ? {0} : {1}"),
    (f"max.{INT}", "TT", "T", "{0} > {1} ? {0} : {1}"),
    (f"and.({BITS}|pred)", "TT", "T", "{0} & {1}"),
    (f"or.({BITS}|pred)", "TT", "T", "{0} | {1}"),
    (f"xor.({BITS}|pred)", "TT", "T", "{0} ^ {1}"),
    (f"not.{BITS}", "T", "T", "~{0}"),
    ("not.pred", "T", "T", "!{0}"),
    (f"shl.{BITS}", ["T", "u32"], "T", "{1} < {bits} ? {0} << {1} : 0"),
    (f"shr.{ANY}", ["T", "u32"], "T", "{1} < {bits} ? {0} >> {1} : {0} < 0 ? -1 : 0"),
    (r"shf.l.wrap.b32", "TTT", "T", "both({1}, {0}) << ({2} & 31) >> 32"),
    (r"shf.l.clamp.b32", "TTT", "T", "both({1}, {0}) << ({2} < 32 ? {2} : 32) >> 32"),
    (r"shf.r.wrap.b32", "TTT", "T", "both({1}, {0}) >> ({2} & 31)"),
    (r"shf.r.clamp.b32", "TTT", "T", "both({1}, {0}) >> ({2} < 32 ? {2} : 32)"),
    ("prmt.b32", "TTT", "T", "permuted(both({1}, {0}), {2})"),
    ("lop3.b32", "TTTT", "T", "by_table({0}, {1}, {2}, {3})"),
    (f"bfi.{BITS}", ["T", "T", "u32", "u32"], "T", "inserted({0}, {1}, {2}, {3})"),
    ("bfe.(?P<T>u32|u64|s32)", ["T", "u32", "u32"], "T", "extracted({0}, {1}, {2})"),
    ("popc.b32", "T", "u32", "__builtin_popcount({0})"),
    ("clz.b32", "T", "u32", "{0} ? __builtin_clz({0}) : 32"),
    ("dp2a.lo.u32.u32", "TTT", "T", "dot2({0}, {1}, {2})"),
    ("dp2a.hi.u32.u32", "TTT", "T", "dot2({0}, {1} >> 16, {2})"),
    (f"add.rn.{FLOAT}", "TT", "T", "{0} + {1}"),
    (f"sub.rn.{FLOAT}", "TT", "T", "{0} - {1}"),
    (f"mul.rn.{FLOAT}", "TT", "T", "{0} * {1}"),
    (f"div.rn.{FLOAT}", "TT", "T", "{0} / {1}"),
    (f"rcp.rn.{FLOAT}", "T", "T", "1 / {0}"),
    (f"fma.rn.{FLOAT}", "TTT", "T", "std::fma({0}, {1}, {2})"),
    (f"sqrt.rn.{FLOAT}", "T", "T", "std::sqrt({0})"),
    (f"neg.{FLOAT}", "T", "T", "-{0}"),
    (f"abs.{FLOAT}", "T", "T", "std::fabs({0})"),
    (f"min.{FLOAT}", "TT", "T", "least({0}, {1})"),
    (f"max.{FLOAT}", "TT", "T", "-least(-{0}, -{1})"),
    (f"copysign.{FLOAT}", "TT", "T", "std::copysign({1}, {0})"),
    (f"selp.{ANY}", ["T", "T", "pred"], "T", "{2} ? {0} : {1}"),
    *(
        (f"setp.{name}.{WHOLE}", "TT", "pred", f"{{0}} {sign} {{1}}")
        for name, sign in {**COMPARISONS, **UNSIGNED}.items()
    ),
    *(
        (f"setp.{name}.{FLOAT}", "TT", "pred", f"{ORDERED} && {{0}} {sign} {{1}}")
        for name, sign in COMPARISONS.items()
    ),
    *(
        (f"setp.{name}.{FLOAT}", "TT", "pred", f"!({ORDERED} && {{0}} {COMPARISONS[not_]} {{1}})")
        for name, not_ in OPPOSITE.items()
    ),
    (f"setp.nan.{FLOAT}", "TT", "pred", f"!({ORDERED})"),
    (f"setp.num.{FLOAT}", "TT", "pred", ORDERED),
    ("cvt.(?P<to>[su](?:8|16|32|64)).(?P<T>[su](?:8|16|32|64))", "T", "to", "{0}"),
    ("cvt.rn.(?P<to>f32|f64).(?P<T>[su](?:8|16|32|64))", "T", "to", "{0}"),
    ("cvt.(?P<to>f64).(?P<T>f32)", "T", "to", "{0}"),
    ("cvt.rn.(?P<to>f32).(?P<T>f64)", "T", "to", "{0}"),
    *(
        (f"cvt.{mode}.(?P<T>f32|f64).(?P=T)", "T", "T", f"std::{function}({{0}})")
        for mode, function in {"rni": "rint", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}.items()
    ),
    *(
        (
            f"cvt.{mode}.(?P<to>[su]32).(?P<T>f32|f64)",
            "T",
            "to",
            f"whole<{{to}}>(std::{function}({{0}}))",
        )
        for mode, function in {"rni": "rint", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}.items()
    ),
    ("cvt.rn.f16.f32", ["f32"], "u16", "half({0})"),
    ("cvt.rn.bf16.f32", ["f32"], "u16", "brain({0})"),
    ("cvt.rn.f16x2.f32", ["f32", "f32"], "u32", "half({1}) | half({0}) << 16"),
    ("cvt.rn.bf16x2.f32", ["f32", "f32"], "u32", "brain({1}) | brain({0}) << 16"),
]
RULES = [(re.compile(pattern.replace(".", r"\.")), *rest) for pattern, *rest in RULES]
MEMORY = re.compile(
    r"(?P<how>ld|st)(\.(?P<space>param|global|shared))?(?P<cache>\.(nc|cs))?(\.v(?P<n>[248]))?"
    rf"\.{ANY}"
)
ATOMIC = re.compile(
    r"(?P<how>atom|red)(\.(?P<space>global|shared))?\.(?P<what>add|min|max|and|or|xor)\."
    rf"{WHOLE}"
)
SPECIAL = {  # registers
    "%tid.x": "threadIdx.x",
    "%ntid.x": "blockDim.x",
    "%ctaid.x": "blockIdx.x",
    "%ctaid.y": "blockIdx.y",
    "%nctaid.x": "gridDim.x",
    "%nctaid.y": "gridDim.y",
}


def statement(entry, step):
    """C++ for one instruction of an entry point; raises :class:`Unknown` where there is none."""
    try:
        body = _body(entry, step)
    except Unknown as error:
        text = f"{step.opcode} {', '.join(step.operands)}"
        raise Unknown(f"{entry.name}, line {step.line}: {error} in {text!r}") from None
    if not step.guard:
        return f"{{ {body} }}"
    return f"if ({step.guard.replace('%', '')}) {{ {body} }}"


def _body(entry, step):
    opcode, values = step.opcode, step.operands
    if opcode in ("bra", "bra.uni"):
        return f"goto {values[0].removeprefix('$')};"
    if opcode in ("ret", "exit"):
        return "return;"
    if opcode == "bar.sync" and values == ["0"]:
        return f"barrier({step.line});"
    if opcode == "bar.red.or.pred" and values[1] == "0":
        says = _read(entry, values[2], "pred")
        return _write(entry, values[0], "pred", f"barrier_or({step.line}, {says})")
    if m := MEMORY.fullmatch(opcode):
        return _load_or_store(entry, step, m)
    if m := ATOMIC.fullmatch(opcode):
        return _atomic(entry, step, m)
    if re.fullmatch(r"mov\.b(32|64)", opcode) and "{" in values[0] + values[1]:
        return _packed(entry, *values, int(opcode[5:]))
    for pattern, reads, writes, expression in RULES:
        if (m := pattern.fullmatch(opcode)) and len(values) == len(reads) + 1:
            return _assigned(entry, values, m, reads, writes, expression)
    raise Unknown("unknown instruction")


def _assigned(entry, values, match, reads, writes, expression):
    groups = match.groupdict()
    own = groups.get("T") or match[0].split(".")[-1]
    bits = 0 if own == "pred" else int(own[1:])
    types = {"T": own, "U": f"u{bits}", "W": f"{own[0]}{2 * bits}", "to": groups.get("to")}
    read = [_read(entry, v, types.get(t, t)) for v, t in zip(values[1:], reads, strict=True)]
    written = types.get(writes, writes)
    spelled = {"W": _spelled(types["W"]), "to": _spelled(written), "bits": bits}
    return _write(entry, values[0], written, expression.format(*read, **spelled))


def _load_or_store(entry, step, match):
    count, kind = int(match["n"] or 1), _spelled(match["T"])
    place, what = step.operands[::-1] if match["how"] == "ld" else step.operands
    parts = operands(what[1:-1]) if match["n"] else [what]
    if len(parts) != count:
        raise Unknown("unknown form")
    text = _checked(entry, step, place, match, count)
    for i, part in enumerate(parts):
        if match["how"] == "ld":
            text += _write(entry, part, match["T"], f"load<{kind}>(a, {i})")
        else:
            text += f"store<{kind}>(a, {i}, {_read(entry, part, match['T'])});"
    return text


def _atomic(entry, step, match):
    kind, name = match["T"], match["what"]
    values = step.operands if match["how"] == "atom" else ["_", *step.operands]
    if len(values) != 3:
        raise Unknown("unknown form")
    signs = {"add": "+", "and": "&", "or": "|", "xor": "^"}
    new = f"old {signs.get(name)} x" if name in signs else f"std::{name}(old, x)"
    c = _spelled(kind)
    return (
        f"{_checked(entry, step, values[1], match, 1)} const {c} old = load<{c}>(a, 0), "
        f"x = {_read(entry, values[2], kind)}; store<{c}>(a, 0, {new}); "
        + _write(entry, values[0], kind, "old")
    )


def _checked(entry, step, place, match, count):
    """Declares ``a``, the address of an access, when it has been checked."""
    base, _, offset = place.strip("[]").partition("+")
    how = {"ld": "kRead", "st": "kWrite"}.get(match["how"], "kAtomic")
    if match.groupdict().get("cache") == ".nc":
        how = "kReadOnly"
    size = count * int(match["T"][1:]) // 8
    where = f"{_read(entry, base, 'u64')} + {int(offset or 0)}ll"
    space = (match["space"] or "generic").capitalize()
    return f"const uint64_t a = checked({where}, {size}, k{space}, {how}, {step.line}); "


def _packed(entry, to, what, bits):
    """A mov between a register and the parts of which it is made, the lowest first."""
    parts = operands((to if "{" in to else what)[1:-1])
    each = bits // len(parts)
    if "{" in to:
        whole = _read(entry, what, f"b{bits}")
        return " ".join(
            _write(entry, part, f"b{each}", f"{whole} >> {i * each}")
            for i, part in enumerate(parts)
        )
    read = (f"uint64_t{{{_read(entry, part, f'b{each}')}}}" for part in parts)
    return _write(
        entry, to, f"b{bits}", " | ".join(f"{part} << {i * each}" for i, part in enumerate(read))
    )


def _spelled(kind):
    """A type of PTX in C++."""
    if kind in ("f32", "f64", "pred"):
        return {"f32": "float", "f64": "double", "pred": "bool"}[kind]
    if kind in ("s128", "u128"):
        return {"s": "__int128", "u": "unsigned __int128"}[kind[0]]
    return f"{'' if kind[0] == 's' else 'u'}int{kind[1:]}_t"


def _read(entry, text, kind):
    """The value of an operand as one of a type."""
    if text in entry.registers:
        value = text[1:]
    elif text in SPECIAL:
        value = SPECIAL[text]
    elif m := re.fullmatch(r"0f([0-9A-F]{8})|0d([0-9A-F]{16})", text):
        value = f"0x{m[1] or m[2]}ull"
    elif re.fullmatch(r"-?\d+|0x[0-9a-fA-F]+U?", text):
        value = f"{int(text.rstrip('U'), 0) % 2**64}ull"
    elif text in entry.shared and kind.endswith("64"):
        value = f"shared + {entry.shared[text]}"
    elif text == f"{entry.name}_param_0" and kind.endswith("64"):
        value = "arguments"
    else:
        raise Unknown(f"unknown operand {text!r}")
    return f"as_{_spelled(kind)}({value})" if kind[0] == "f" else f"({_spelled(kind)})({value})"


def _write(entry, register, kind, value):
    if register == "_":
        return ""
    if register not in entry.registers:
        raise Unknown(f"unknown operand {register!r}")
    typed = f"({_spelled(kind)})({value})"
    return f"{register[1:]} = {f'as_bits({typed})' if kind[0] == 'f' else typed};"
