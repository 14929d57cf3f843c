"""A checkout with sources of a few lines."""

import ctypes

CPU = '#include "cpu/api.h"\nextern "C" int answer() { return kAnswer; }\n'
ROWS = "int MSDA_ISA() { return 0; }\n"
PLUGIN = """
extern "C" int answer();
int dali_answer();
extern "C" int both() { return answer() + dali_answer(); }
"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def answer(path):
    return ctypes.CDLL(str(path)).answer()
