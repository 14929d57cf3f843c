"""A small kernel in PTX, whose threads have a word each of global and of shared memory."""

import ctypes

import numpy as np

from tests.cuda.emulation import Walled, launch
from tests.cuda.ptx import library

THREADS = 64
NAME = "msda_saliency_small"  # of a kind whose threads may wait for one another
# %r1 is the thread; %rd1 and %rd4 are the first words, %rd3 and %rd5 those of the thread.
TEXT = """
.visible .entry NAME(
	.param .align 8 .b8 NAME_param_0[8]
)
{
	.reg .pred 	%p<9>;
	.reg .b32 	%r<9>;
	.reg .b64 	%rd<9>;
	.shared .align 16 .b8 room[1024];
	ld.param.u64 	%rd1, [NAME_param_0];
	mov.u32 	%r1, %tid.x;
	setp.eq.u32 	%p1, %r1, 3;
	mul.wide.u32 	%rd2, %r1, 4;
	add.s64 	%rd3, %rd1, %rd2;
	mov.u64 	%rd4, room;
	add.s64 	%rd5, %rd4, %rd2;
	BODY
	ret;
}
""".replace("NAME", NAME)
FIRST_LINE = TEXT.partition("BODY")[0].count("\n") + 1


class Arguments(ctypes.Structure):
    _fields_ = [("first", ctypes.c_void_p)]


def code(body):
    """The kernel with these instructions, divided by " / "."""
    text = TEXT.replace("BODY", body.replace(" / ", "\n"))
    return library.Code("test", lambda entry: text)


def run():
    """Launches the kernel of the code that is set; returns the words, which were 7 before."""
    words = Walled((THREADS,), np.uint32)
    words.array[...] = 7
    launch(NAME, Arguments(words.address), (1, 1), THREADS)
    return words.array.copy()
