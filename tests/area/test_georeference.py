"""Longitude and latitude against an area's own metres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.area import make
from uniair.area import footprints
from uniair.area.georeference import Georeference


def test_metres_are_metres_and_come_back() -> None:
    place = Georeference(13.4, 52.5)
    points = np.array([[13.4, 52.5], [13.401, 52.5], [13.4, 52.501]])
    metres = place.to_metres(points)
    assert np.allclose(metres[0], 0, atol=1e-6)
    # WGS 84: a thousandth of a degree of longitude at 52.5° is 67.9 m, of latitude 111.3 m
    assert metres[1] == pytest.approx([67.90, 0.0], abs=0.05)
    assert metres[2] == pytest.approx([0.0, 111.27], abs=0.05)
    assert np.allclose(place.to_degrees(metres), points, atol=1e-10)
    moved = place.moved(10.0, -5.0)
    assert np.allclose(moved.to_metres(points), metres - [10.0, -5.0])
    assert np.allclose(moved.to_degrees(moved.to_metres(points)), points, atol=1e-10)


@pytest.mark.parametrize("name", ["town.geojson", "town.osm.gz"])
def test_a_file_knows_where_it_is(name: str, tmp_path: Path) -> None:
    area = footprints.load(make.write(tmp_path, name))
    assert area.georeference is not None
    corner = np.array(make.town()[make.LEVELS].parts[0][0][0])
    lon, lat = make.degrees((float(corner[0]), float(corner[1])))
    found = area.georeference.to_metres(np.array([[lon, lat]]))[0]
    outline = np.concatenate([np.asarray(f.exterior.coords) for f in area.footprints])
    assert np.linalg.norm(outline - found, axis=1).min() < 0.05


def test_a_crop_moves_it_and_a_turn_loses_it(tmp_path: Path) -> None:
    area = footprints.load(make.write(tmp_path, "town.geojson"))
    crop = area.crop(-20.0, -30.0, 60.0)
    assert area.georeference is not None
    assert crop.georeference is not None
    corner = area.georeference.to_degrees(np.array([[-20.0, -30.0]]))
    assert np.allclose(crop.georeference.to_metres(corner), 0, atol=1e-6)
    assert area.crop(-20.0, -30.0, 60.0, rotation=0.3).georeference is None
    assert footprints.load(make.write(tmp_path, "buildings.json")).georeference is None
