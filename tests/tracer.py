"""Marks the tests that trace rays: they need sionna-rt and LLVM 19."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from uniair.propagation.ray_tracing import find_llvm

_missing = [name for name, there in (("LLVM 19", find_llvm()), ("sionna-rt", find_spec("sionna"))) if there is None]

needs_tracer = pytest.mark.skipif(bool(_missing), reason=f"ray tracing needs {' and '.join(_missing)}")
