"""How memory is taken from the system: in large pages, and kept for the next array."""

from __future__ import annotations

import ctypes
import os
import sys

# of glibc's malloc.h: what is free at the heap's end beyond this is given back, what is taken at once beside, and how
# many arrays are mapped by themselves
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
KEPT, AT_ONCE = 2**31 - 1, 2**28  # bytes


def keep_large_pages() -> None:
    """Lets torch take its arrays in large pages, and the heap keep them; to be called before torch is imported.

    An array of tens of MB is otherwise mapped anew each time, page by page of 4 kB, and written for the first time: on
    a virtual machine that takes longer than what is computed. Who has set malloc by its own variables is left alone.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # other C libraries have none
        for option, value in ((TRIM_THRESHOLD, KEPT), (TOP_PAD, AT_ONCE), (MMAP_MAX, 0)):
            mallopt(option, value)
