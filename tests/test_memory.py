"""Memory: arrays of many MB find their pages again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ARRAYS = """
import resource, sys
from uniair.memory import keep_large_pages
if sys.argv[1] == "kept":
    keep_large_pages()
import numpy as np
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**23)  # 64 MB
before = faults()
for _ in range(10):
    np.ones(2**23)
print(faults() - before)
"""


def faults(how: str, **variables: str) -> int:
    """Page faults of ten arrays of 64 MB, one after the other, in a process of their own."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    found = subprocess.run(
        [sys.executable, "-c", ARRAYS, how], capture_output=True, text=True, check=True, env=known | variables
    )
    return int(found.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_an_array_takes_the_pages_that_the_last_one_left() -> None:
    mapped, kept = faults("mapped"), faults("kept")
    assert mapped > 20 * max(kept, 10)
    assert faults("kept", MALLOC_ARENA_MAX="2") > 20 * max(kept, 10)  # who has set malloc knows why
