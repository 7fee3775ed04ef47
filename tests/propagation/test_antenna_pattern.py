"""Measured antenna patterns: what their files say, and the gains between the two cuts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from uniair.errors import InputError
from uniair.propagation.antenna_pattern import read_pattern

ANGLES = np.arange(360.0)


def parabola(degrees: np.ndarray, width: float, tilt: float = 0.0) -> np.ndarray:
    """TR 38.901, table 7.3-1: 12 (angle / width)², at most 30 dB."""
    return np.minimum(12 * (((degrees - tilt + 180) % 360 - 180) / width) ** 2, 30.0)


def write_msi(path: Path, gain: str = "17.5 dBi", tilt: float = 6.0, **changes: str) -> Path:
    """A made-up panel of 65° × 7°, its beam `tilt` degrees below the horizon."""
    said = {"NAME": "Panel 65", "FREQUENCY": "3500", "GAIN": gain, "TILT": "ELECTRICAL",
            "ELECTRICAL_TILT": f"{tilt:g}"} | changes  # fmt: skip
    rows = [f"{key} {value}" for key, value in said.items() if value]
    for name, loss in (("HORIZONTAL", parabola(ANGLES, 65.0)), ("VERTICAL", parabola(ANGLES, 7.0, tilt))):
        rows += [f"{name} 360", *(f"{angle:.0f}\t{value:.2f}" for angle, value in zip(ANGLES, loss, strict=True))]
    path.write_text("\n".join(rows) + "\n")
    return path


def test_what_a_file_says(tmp_path: Path) -> None:
    pattern = read_pattern(write_msi(tmp_path / "panel.msi"))
    assert (pattern.name, pattern.gain, pattern.frequency, pattern.tilt) == ("Panel 65", 17.5, 3.5e9, 6.0)
    assert pattern.horizontal.shape == pattern.vertical.shape == (360, 2)
    assert not pattern.remarks


def test_gains_over_a_dipole(tmp_path: Path) -> None:
    assert read_pattern(write_msi(tmp_path / "a.pln", "15.35 dBd")).gain == pytest.approx(17.5)
    bare = read_pattern(write_msi(tmp_path / "b.pln", "15,35"))
    assert bare.gain == pytest.approx(17.5)
    assert bare.remarks == ("b.pln: GAIN 15,35 has no unit; taken for dBd, as the format has it",)


def test_the_cuts_come_back(tmp_path: Path) -> None:
    pattern = read_pattern(write_msi(tmp_path / "panel.msi"))
    below = np.arange(-90.0, 91.0)
    assert np.allclose(pattern.loss(np.zeros(181), below), parabola(below, 7.0, 6.0), atol=0.006)
    azimuth = np.arange(-180.0, 180.0)
    # the horizontal cut is that of the beam's own cone; behind, the cone lies as far above the horizon
    cone = 6.0 * (1 - 2 * np.abs(azimuth) / 180)
    ahead = np.abs(azimuth) < 1
    assert np.allclose(pattern.loss(azimuth, cone)[ahead], parabola(azimuth, 65.0)[ahead], atol=0.006)
    assert pattern.loss(np.array(0.0), np.array(6.0)) == pytest.approx(0.0)


def test_without_tilt_both_cuts_are_the_tables(tmp_path: Path) -> None:
    pattern = read_pattern(write_msi(tmp_path / "panel.msi", tilt=0.0))
    azimuth = np.arange(-180.0, 180.0)
    front = np.abs(azimuth) <= 90
    # behind, a cut of its own would say less than 30 dB; HPI takes the rear of the vertical cut, 30 dB as well
    assert np.allclose(pattern.loss(azimuth, np.zeros(360))[front], parabola(azimuth, 65.0)[front], atol=0.006)
    assert np.allclose(pattern.loss(azimuth, np.zeros(360)), parabola(azimuth, 65.0), atol=0.006)


def test_gains_towards_directions(tmp_path: Path) -> None:
    """Right of the boresight is x, up is z."""
    path = write_msi(tmp_path / "panel.msi", tilt=6.0)
    lines = path.read_text().splitlines()
    right = lines.index("HORIZONTAL 360") + 1 + 60
    lines[right] = "60 20"  # a dip at 60° clockwise alone
    path.write_text("\n".join(lines))
    pattern = read_pattern(path)
    side, down = np.radians(60.0), np.radians(6.0)
    directions = np.array(
        [[np.sin(side), np.cos(side), 0], [-np.sin(side), np.cos(side), 0], [0, np.cos(down), -np.sin(down)],
         [0, np.cos(down), np.sin(down)]]
    )  # fmt: skip
    right_of, left_of, beam, above = pattern.gains(directions)
    assert left_of - right_of == pytest.approx(20 - parabola(np.array(60.0), 65.0), abs=0.01)
    assert beam == pytest.approx(17.5)
    assert above == pytest.approx(17.5 - 30.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: lines[:200], "HORIZONTAL of line 6 ends after 194 of 360 points"),
        (lambda lines: lines[:400], r"VERTICAL of line 367 ends after 33 of 360 points"),
        (lambda lines: lines[:5], "no HORIZONTAL cut"),
        (lambda lines: [*lines[:100], "what", *lines[101:]], "line 101 holds 'what', not an angle"),
        (lambda lines: [line for i, line in enumerate(lines) if i != 100], "line 366 holds 'VERTICAL 360'"),
        (lambda lines: [line for line in lines if not line.startswith("GAIN")], "no GAIN"),
        (lambda lines: [*lines[:5], "HORIZONTAL many", *lines[6:]], "line 6 says HORIZONTAL 'many'"),
        (lambda lines: [*lines[:10], "3 -4", *lines[11:]], "line 11 holds '3 -4'; losses"),
        (lambda lines: [*lines[:10], "1 4", *lines[11:]], "HORIZONTAL: angles must rise"),
    ],
)
def test_a_broken_file_is_one_line(change: Callable[[list[str]], list[str]], says: str, tmp_path: Path) -> None:
    path = write_msi(tmp_path / "panel.msi")
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(InputError, match=says) as caught:
        read_pattern(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        read_pattern(tmp_path / "nothing.msi")
