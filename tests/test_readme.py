"""What the README says, run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import uniair
from uniair.cli import COMMANDS
from uniair.data.links import shards

MINE = uniair.Radio(array=uniair.UPA(4, 8), grid=uniair.OFDM(128, 240e3), clock="first_path")
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_in_the_readme_runs() -> None:
    links = shards.read(Path(uniair.__file__).parent / "sample")
    one = links.select(links.area == 0)
    names = {
        "csi": one.paths.csi().numpy(), "csi_of_mine": one.paths.csi(MINE).numpy(), "occupancy": one.maps[0],
        "bs": one.bs, "ue": one.ue, "size": np.repeat(one.sizes, len(one)),
    }  # fmt: skip
    pytest.importorskip("httpx2", reason="httpx2 is missing: pip install 'uniair[serve]'")
    for block in re.findall(r"```python\n(.*?)```", README, re.S):
        exec(compile(block, "README.md", "exec"), names)
    assert names["z_channel"].shape == (len(one), 128)  # type: ignore[union-attr]
    p_user = names["p_user"]
    assert isinstance(p_user, torch.Tensor)
    assert p_user.shape == (1, len(one))
    assert names["csi_again"].shape == (len(one), 32, 64)  # type: ignore[union-attr]


def test_commands_and_files_in_the_readme_exist() -> None:
    for line in re.findall(r"^uniair (.+)", README, re.M):
        words = line.split()
        assert words[0] in COMMANDS or " ".join(words[:2]) in COMMANDS, line
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (Path(__file__).parents[1] / target).exists(), target
