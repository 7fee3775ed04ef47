"""Any CRS comes to metres at its place; what can't be degrees, or lies nowhere, is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from uniair.area import footprints
from uniair.area.area import Area
from uniair.errors import InputError

from . import towns
from .towns import collection, feature, named_crs, projected, rectangle

TWO = collection(
    feature(rectangle(0, 0, 20, 20), building="yes", height="12"),
    feature(rectangle(40, 0, 20, 30), building="yes", height="9"),
)


def load(folder: Path, document: Any) -> Area:
    return footprints.load(towns.write(folder, "town.geojson", document))


def notes(area: Area) -> str:
    assert area.reading is not None
    return " | ".join(area.reading.notes)


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:32629", "EPSG:25829", "EPSG:3763", "EPSG:4258", "EPSG:27492"])
@pytest.mark.parametrize("form", ["urn:ogc:def:crs:EPSG::{}", "EPSG:{}", "epsg:{}"])
def test_any_crs_is_projected(tmp_path: Path, crs: str, form: str) -> None:
    plain = load(tmp_path, TWO)
    area = load(tmp_path, {**projected(TWO, crs), **named_crs(form.format(crs.partition(":")[2]))})
    assert area.georeference is not None
    assert area.georeference.longitude == pytest.approx(towns.LONGITUDE, abs=1e-3)
    for have, want in zip(area.footprints, plain.footprints, strict=True):
        # another datum may shift the place, never the shape
        np.testing.assert_allclose(shapely.get_coordinates(have), shapely.get_coordinates(want), atol=0.02)


def test_a_crs_after_the_features_counts(tmp_path: Path) -> None:
    text = json.dumps({**projected(TWO, "EPSG:32629"), **named_crs("EPSG:32629")}, indent=1)
    assert text.index("crs") > 0
    last = {**projected(TWO, "EPSG:32629")}
    last.update(named_crs("EPSG:32629"))
    ordered = {key: last[key] for key in ("type", "features", "crs")}
    assert load(tmp_path, ordered).footprints[0].area == pytest.approx(401, abs=2)


def test_files_in_feet(tmp_path: Path) -> None:
    here = {"longitude": -73.99, "latitude": 40.73}
    document = collection(
        feature(rectangle(0, 0, 20, 20, **here), building="yes", height=12),
        feature(rectangle(40, 0, 20, 20, **here), building="yes", bldg_ht=40),
    )
    area = load(tmp_path, {**projected(document, "EPSG:2263"), **named_crs("EPSG:2263")})
    assert area.footprints[0].area == pytest.approx(400, rel=0.01)
    assert area.heights.tolist() == pytest.approx([12.0, 12.192], rel=1e-4)
    assert "counts in feet" in notes(area)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (named_crs("Our Town's Grid"), "its CRS, Our Town's Grid, is not known"),
        (named_crs("EPSG:999999"), "is not known"),
        (named_crs("EPSG:4978"), "is no map"),
        ({"crs": {"type": "link", "properties": {"href": "http://example.org"}}}, "names none"),
        (named_crs("EPSG:2056"), "state the CRS that they are in"),
    ],
)
def test_a_crs_that_does_not_fit_is_refused_by_name(tmp_path: Path, more: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load(tmp_path, {**projected(TWO, "EPSG:32629"), **more})


def test_metres_without_a_crs_are_no_degrees(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x 487\d+ to .*not longitude and latitude in degrees.*state the CRS"):
        load(tmp_path, projected(TWO, "EPSG:32629"))


def square(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def test_metres_about_a_site(tmp_path: Path) -> None:
    document = collection(feature(square(-60, -60, 20), height=9), feature(square(20, 50, 20), height=9))
    with pytest.raises(InputError, match=r"reaches .* km from the middle of the buildings as degrees"):
        load(tmp_path, document)
    area = load(tmp_path, {**document, **named_crs("EPSG:5555")})
    assert [p.area for p in area.footprints] == [400.0, 400.0]
    assert area.georeference is None
    assert "taken for metres of a local grid" in notes(area)


def test_a_degree_is_no_building(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="larger than any building: 1"):
        load(tmp_path, collection(feature(square(0, 0, 2))))


@pytest.mark.parametrize("east", [-179.9995, 180.0005])
def test_both_sides_of_180_degrees(tmp_path: Path, east: float) -> None:
    document = collection(
        feature(rectangle(0, 0, 20, 20, longitude=179.9999, latitude=-17.5), building="yes", height=5),
        feature(rectangle(0, 0, 20, 20, longitude=east, latitude=-17.5), building="yes", height=5),
    )
    area = load(tmp_path, document)
    assert area.width == pytest.approx(84, abs=2)
    assert "both sides of 180°" in notes(area)
    assert area.georeference is not None
    assert -180 <= area.georeference.longitude <= 180


def test_a_grid_that_crosses_180_degrees(tmp_path: Path) -> None:
    document = collection(
        feature(rectangle(0, 0, 20, 20, longitude=179.9999, latitude=-17.5), building="yes", height=5),
        feature(rectangle(0, 0, 20, 20, longitude=-179.9995, latitude=-17.5), building="yes", height=5),
    )
    area = load(tmp_path, {**projected(document, "EPSG:32760"), **named_crs("EPSG:32760")})
    assert area.width == pytest.approx(84, abs=2)


def test_longitudes_from_0_to_360(tmp_path: Path) -> None:
    area = load(tmp_path, collection(feature(rectangle(0, 0, 20, 20, longitude=286.0, latitude=40.7))))
    assert area.georeference is not None
    assert area.georeference.longitude == pytest.approx(-74.0, abs=1e-3)


def swapped(document: dict[str, Any]) -> dict[str, Any]:
    return projected(document, "EPSG:4326", swap=True)


def test_latitude_before_longitude(tmp_path: Path) -> None:
    east = collection(feature(rectangle(0, 0, 20, 20, longitude=121.5, latitude=31.2)))
    with pytest.raises(InputError, match="latitude stands before longitude; write longitude first"):
        load(tmp_path, swapped(east))
    turned = collection(*[feature(rectangle(40 * i, 0, 20, 30, 0.6, longitude=13.4, latitude=52.5)) for i in range(9)])
    assert len(load(tmp_path, turned).footprints) == 9
    with pytest.raises(InputError, match="right angles only if latitude stands before longitude"):
        load(tmp_path, swapped(turned))


def test_where_a_place_lies_is_said(tmp_path: Path) -> None:
    assert "the middle lies at 38.7201° N, 9.1397° W" in notes(load(tmp_path, TWO))
    area = load(tmp_path, {**swapped(TWO), **named_crs("urn:ogc:def:crs:EPSG::4326")})
    assert "lists latitude first; the file was read as longitude, latitude" in notes(area)


def test_one_outline_at_zero_is_named(tmp_path: Path) -> None:
    stray = feature(rectangle(0, 0, 20, 20, longitude=0.0, latitude=0.0), building="yes")
    with pytest.raises(InputError, match=r"feature 3 reaches 4,.* km from the middle"):
        load(tmp_path, collection(*TWO["features"], stray))
    with pytest.raises(InputError, match=r"the buildings cover|reaches"):
        load(tmp_path, {**projected(collection(*TWO["features"], stray), "EPSG:3857"), **named_crs("EPSG:3857")})


def test_coordinates_beyond_numbers(tmp_path: Path) -> None:
    for big in (1e300, 1e30):
        with pytest.raises(InputError, match="coordinates"):
            load(tmp_path, collection(feature(square(big, 0, big / 10)), **named_crs("EPSG:3857")))
        with pytest.raises(InputError, match="coordinates"):
            load(tmp_path, collection(feature(square(big, 0, big / 10))))
