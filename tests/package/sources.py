"""A checkout with sources of a few lines."""

import ctypes

CPU = '#include "cpu/api.h"\nextern "C" int answer() { return kAnswer; }\n'
ROWS = "int MSDA_ISA() { return 0; }\n"
PLUGIN = (
    '#include "cpu/api.h"\nint dali_answer();\nextern "C" int both() { return dali_answer(); }\n'
)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def answer(path):
    return ctypes.CDLL(str(path)).answer()
