"""What a kernel takes of a multiprocessor, read from its cubin.

A cubin is an ELF file. Its section .nv.info holds records of four bytes, the last two of which are
the size of what follows: a symbol's number and a value.
"""

import struct
from dataclasses import dataclass

REGISTERS, FRAME = 0x2F, 0x11  # EIATTR_REGCOUNT, EIATTR_FRAME_SIZE
SIZED = 4  # a record with a size
# Of each multiprocessor: registers, bytes of shared memory, warps, blocks (cuda_occupancy.h).
LIMITS = {"sm_90": (65536, 228 * 1024, 64, 32), "sm_120": (65536, 100 * 1024, 48, 24)}


@dataclass
class Usage:
    registers: int = 0  # of a thread
    local: int = 0  # bytes of a thread, to which registers spill
    shared: int = 0  # bytes of a block, without what the launch adds


def usage(path):
    """What the entry points of a cubin take, by name."""
    content = path.read_bytes()
    sections = dict(_sections(content))
    found = {name[6:]: Usage() for name in sections if name.startswith(".text.")}
    symbols, names = sections[".symtab"], sections[".strtab"]
    info, at = sections[".nv.info"], 0
    while at < len(info):
        form, kind, size = struct.unpack_from("<BBH", info, at)
        at += 4 + (size if form == SIZED else 0)
        if form == SIZED and kind in (REGISTERS, FRAME):
            symbol, value = struct.unpack_from("<II", info, at - size)
            (name,) = struct.unpack_from("<I", symbols, 24 * symbol)
            entry = found.get(_text(names, name), Usage())  # else a function that an entry calls
            setattr(entry, "registers" if kind == REGISTERS else "local", value)
    for name, entry in found.items():
        entry.shared = len(sections.get(f".nv.shared.{name}", b""))
    return found


def warps(arch, registers, shared, threads):
    """How many warps of such blocks a multiprocessor holds at a time.

    As cuda_occupancy.h has it: a warp gets registers in units of 256 from a quarter of the
    multiprocessor, a block shared memory in units of 128 bytes and 1 KiB for the system.
    """
    of_registers, of_shared, most, blocks = LIMITS[arch]
    each = -(-threads // 32)
    by_registers = of_registers // (-(-registers * 32 // 256) * 256) // 4 * 4 // each
    by_shared = of_shared // (-(-shared // 128) * 128 + 1024)
    return each * min(by_registers, by_shared, most // each, blocks)


def _sections(content):
    """Names and contents; a section without content in the file is as many zeros."""
    (start,) = struct.unpack_from("<Q", content, 40)
    size, count, names = struct.unpack_from("<HHH", content, 58)
    heads = [struct.unpack_from("<IIQQQQ", content, start + i * size) for i in range(count)]
    for name, kind, _, _, at, length in heads:
        no_bits = kind == 8
        yield (
            _text(content, heads[names][4] + name),
            bytes(length) if no_bits else content[at : at + length],
        )


def _text(content, at):
    return content[at : content.index(b"\0", at)].decode()
