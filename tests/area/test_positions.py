"""Positions of users from tables, tracks and points."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from uniair.area import footprints, procedural
from uniair.area.area import Area
from uniair.area.positions import read_positions
from uniair.errors import InputError

from . import towns
from .towns import Osm, collection, degrees, named_crs, projected

TRACK = [(30.0, 5.0 + 10 * i) for i in range(6)]


@pytest.fixture
def place(tmp_path: Path) -> Area:
    town = Osm()
    for x in (0, 40):
        town.way(x, 0, 20, 70, building="yes", height="9")
    return footprints.load(towns.write(tmp_path, "town.osm", town.text()))


def in_degrees() -> list[list[float]]:
    return [degrees(*at) for at in TRACK]


def expected(place: Area) -> np.ndarray:
    return np.array(TRACK) + place.bounds[:2]


def check(path: Path, place: Area, height: float = 1.5) -> None:
    found = read_positions(path, place)
    np.testing.assert_allclose(found.points[:, :2], expected(place), atol=0.2)
    assert (found.points[:, 2] == height).all()
    assert len(found.outdoors(place)) == len(TRACK)


@pytest.mark.parametrize(
    ("header", "mark", "comma"),
    [("lon,lat", ",", "."), ("Longitude;Latitude", ";", ","), ("lng\tlat", "\t", "."), ("\ufefflon,lat", ",", ".")],
)
def test_tables_of_degrees(tmp_path: Path, place: Area, header: str, mark: str, comma: str) -> None:
    rows = [mark.join(f"{value:.8f}".replace(".", comma) for value in at) for at in in_degrees()]
    check(towns.write(tmp_path, "users", "\n".join([header, *rows, ""])), place)


def test_tables_of_metres_with_heights(tmp_path: Path, place: Area) -> None:
    rows = [f"{i},{x},{y},{'' if i else 12}" for i, (x, y) in enumerate(expected(place).tolist())]
    path = towns.write(tmp_path, "users.csv", "\r\n".join(["id,X,Y,z", *rows]))
    assert read_positions(path, place).points[:, 2].tolist() == [12.0, *[1.5] * 5]
    town = procedural.city(3, 200.0)  # lies nowhere on Earth
    np.testing.assert_allclose(read_positions(path, town).points[:, :2], expected(place))


def test_tracks_of_gpx(tmp_path: Path, place: Area) -> None:
    points = "".join(f'<trkpt lat="{y}" lon="{x}"><ele>31</ele></trkpt>' for x, y in in_degrees())
    track = f'<wpt lat="0" lon="0"/><trk><trkseg>{points}</trkseg></trk>'
    text = f'<gpx xmlns="http://www.topografix.com/GPX/1/1">{track}</gpx>'
    check(towns.write(tmp_path, "walk.xml", text), place)


@pytest.mark.parametrize("form", ["points", "line", "multipoint", "projected"])
def test_vector_files(tmp_path: Path, place: Area, form: str) -> None:
    at = in_degrees()
    geometries: list[dict[str, object]] = [{"type": "Point", "coordinates": one} for one in at]
    if form in ("line", "multipoint"):
        geometries = [{"type": {"line": "LineString", "multipoint": "MultiPoint"}[form], "coordinates": at}]
    document = collection(*[{"type": "Feature", "properties": {}, "geometry": g} for g in geometries])
    if form == "projected":
        document = {**projected(document, "EPSG:32629"), **named_crs("EPSG:32629")}
    check(towns.write(tmp_path, "users.geojson", document), place)


@pytest.mark.parametrize("name", ["height", "z", "Z", "ue_height"])
def test_points_know_their_heights(tmp_path: Path, place: Area, name: str) -> None:
    points = [
        {"type": "Feature", "properties": {name: h}, "geometry": {"type": "Point", "coordinates": at}}
        for h, at in zip((3, None), in_degrees(), strict=False)
    ]
    path = towns.write(tmp_path, "users.geojson", collection(*points))
    assert read_positions(path, place).points[:, 2].tolist() == [3.0, 1.5]
    points[1]["properties"] = {name: "on the roof"}
    with pytest.raises(InputError, match="feature 2 says 'on the roof' for a height"):
        read_positions(towns.write(tmp_path, "roof.geojson", collection(*points)), place)


def test_those_indoors_and_outside_are_counted(tmp_path: Path, place: Area) -> None:
    x0, y0 = place.bounds[:2]
    path = towns.write(tmp_path, "users.csv", f"x,y\n{x0 + 30},{y0 + 30}\n{x0 + 5},{y0 + 5}\n{x0 + 900},{y0}\n")
    kept = read_positions(path, place).outdoors(place)
    assert kept.rows.tolist() == [0]
    assert dict(kept.left_out) == {"outside the area": 1, "inside a building": 1}
    with pytest.raises(InputError, match="of 1 positions 0 lie outside it and 1 inside buildings"):
        read_positions(towns.write(tmp_path, "in.csv", f"x,y\n{x0 + 5},{y0 + 5}\n"), place).outdoors(place)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no positions that are read here"),
        ("hello", "no positions that are read here"),
        ("a,b\n1,2\n", "no columns x and y, nor lon and lat, among a, b"),
        ("1,2\n3,4\n", "a table without a header"),
        ("x,y\n", "0 positions"),
        ("x,y\n1,two\n", "line 2 holds 'two' for a position"),
        ("x,y\n1\n", "line 2 holds '' for a position"),
        ("x,y\n1,nan\n", "position 1 is NaN or infinite"),
        ("x,y,z\n1,2,-4\n", "height -4 m of position 1"),
        ("x,y,z\n1,2,\n1,2,12 m\n", "line 3 holds '12 m' for a height"),
        ("lon,lat\n500000,4000000\n", "are no degrees"),
        ("<gpx><trkpt/></gpx>", "not readable GPX"),
        ("<gpx/>", "0 positions"),
        ("<osm/>", "no positions that are read here"),
        (json.dumps(collection(towns.feature(towns.rectangle(0, 0, 9, 9)))), "no points or lines in it"),
    ],
)
def test_what_is_no_position(tmp_path: Path, place: Area, text: str, words: str) -> None:
    path = towns.write(tmp_path, "users", text)
    with pytest.raises(InputError, match=words) as caught:
        read_positions(path, place)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_degrees_where_nothing_is_known_of_them(tmp_path: Path) -> None:
    path = towns.write(tmp_path, "users.csv", "lon,lat\n1,2\n")
    with pytest.raises(InputError, match="not known where on Earth procedural_3 lies"):
        read_positions(path, procedural.city(3, 200.0))
    with pytest.raises(InputError, match="no such file"):
        read_positions(tmp_path / "none", procedural.city(3, 200.0))
