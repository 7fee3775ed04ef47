"""Say what is installed, what is missing and the command that mends it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.errors import InputError

# package, what it is for, how to get it
PACKAGES = (
    ("torch", "models", "pip install -c constraints.txt uniair"),
    ("numpy", "arrays", "pip install uniair"),
    ("shapely", "geometry", "pip install uniair"),
    ("safetensors", "weights and links", "pip install uniair"),
    ("matplotlib", "pictures", "pip install uniair"),
    ("pillow", "camera images and maps", "pip install uniair"),
    ("scikit-learn", "embedding pictures", "pip install uniair"),
    ("sionna-rt", "ray tracing", "pip install 'uniair[rt]'"),
    ("osmium", "OpenStreetMap extracts", "pip install 'uniair[rt]'"),
    ("pyproj", "geographic coordinates", "pip install 'uniair[rt]'"),
    ("plyfile", "packaged city scenes", "pip install 'uniair[rt]'"),
    ("ray", "campaigns on many machines", "pip install 'uniair[ray]'"),
    ("transformers", "language-model backbones", "make llm"),
    ("fastapi", "uniair serve", "pip install 'uniair[serve]'"),
    ("onnxruntime", "uniair export", "pip install 'uniair[serve]'"),
    ("tuf", "uniair registry", "pip install 'uniair[registry]'"),
    ("flwr", "uniair federate", "pip install 'uniair[federated]'"),
    ("opacus", "private learning", "pip install 'uniair[federated]'"),
)


def arguments(parser: ArgumentParser) -> None:
    """No options of its own."""


def run(options: Any) -> dict[str, Any]:
    """Prints one line a finding; the JSON result lists what is missing."""
    missing: list[str] = []

    def line(good: bool, what: str, detail: str, mend: str = "") -> None:
        print(f"{'ok     ' if good else 'MISSING'}  {what:26} {detail}{'' if good else f'   → {mend}'}")
        if not good:
            missing.append(what)

    line(sys.version_info >= (3, 11), "Python ≥ 3.11", platform.python_version(), "install Python 3.11 or later")
    for package, purpose, mend in PACKAGES:
        try:
            line(True, package, f"{version(package):16} {purpose}")
        except PackageNotFoundError:
            line(False, package, f"{'':16} {purpose}", mend)
    from uniair.propagation.ray_tracing import find_llvm

    llvm = find_llvm()
    line(llvm is not None, "LLVM ≥ 19", f"{Path(llvm).name if llvm else '':16} ray tracing on the CPU",
         "apt-get install libllvm19, or set DRJIT_LIBLLVM_PATH")  # fmt: skip
    try:
        model = uniair.load("small")
        line(True, "packaged model `small`", f"{model.parameter_counts()['total']:,} parameters")
    except InputError as error:
        line(False, "packaged model `small`", str(error), "pip install --force-reinstall uniair")
    if "torch" not in missing:
        import torch

        gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none: everything runs on the CPU"
        print(f"{'':9}{'GPU':26} {gpu}")
        print(f"{'':9}{'CPU cores':26} {os.cpu_count()}, torch uses {torch.get_num_threads()}")
    print(f"{'':9}{'free disk here':26} {shutil.disk_usage('.').free / 2**30:.0f} GiB")
    print(
        "everything is there"
        if not missing
        else f"{len(missing)} missing; zero-shot answers need none of the ray tracer's"
    )
    return {"missing": missing}
