"""Streets of an extract: within the area, by kind, in any packing; none where a file has none."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tests.area import make as towns
from tests.site.make_plan import village
from uniair.area import footprints
from uniair.area.area import Area
from uniair.area.streets import FOOT, MAJOR, MINOR, read_streets
from uniair.errors import InputError

pytest.importorskip("osmium", reason="osmium is missing: pip install 'uniair[rt]'")


def square(path: Path) -> Area:
    """160 m about the village's middle."""
    area = footprints.load(path)
    assert area.georeference is not None
    x, y = area.georeference.to_metres(np.array([towns.degrees((0.0, 0.0))]))[0]
    return area.crop(x - 80, y - 80, 160)


def test_streets_are_cut_at_the_border_and_named(tmp_path: Path) -> None:
    path = tmp_path / "village.osm"
    village(path)
    area = square(path)
    found = read_streets(str(path), area)
    assert [(street.name, street.kind) for street in found] == [
        ("Main Street", MAJOR), ("Mill Lane", MINOR), ("", FOOT)  # one that is proposed is none
    ]  # fmt: skip
    main = found[0].line
    assert main[0, 0] == pytest.approx(0, abs=1e-6)  # it comes in from 40 m west of the border
    assert main[-1, 0] == pytest.approx(160, abs=1e-6)
    assert main[1] == pytest.approx((80, 56), abs=0.01)  # its middle node, 24 m south of the middle
    assert min(street.line.min() for street in found) >= -1e-9


def test_a_packed_extract_and_files_without_streets(tmp_path: Path) -> None:
    plain, packed = tmp_path / "village.osm", tmp_path / "village.osm.gz"
    village(plain)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert len(read_streets(str(packed), square(packed))) == 3
    other = str(towns.write(tmp_path, "town.geojson"))
    assert read_streets(other, footprints.load(other)) == ()
    assert read_streets("procedural:7", footprints.load(other)) == ()
    assert len(read_streets(str(towns.write(tmp_path, "town.osm.pbf")), square(plain))) == 0


def test_a_cut_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "village.osm"
    village(path)
    area = square(path)
    path.write_text(path.read_text()[:-60])
    with pytest.raises(InputError, match=r"village\.osm: not a readable OpenStreetMap file"):
        read_streets(str(path), area)
