"""Footprint files: the same town in every format, heights, broken files, real extracts, random input."""

from __future__ import annotations

import json
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st

from uniair.area import footprints, vector_files
from uniair.area.area import Area
from uniair.errors import InputError

from . import make

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
EXTRACTS = SHARED / "osm"
property_test = settings(max_examples=30, deadline=None, derandomize=True)


def write_json(folder: Path, document: Any, name: str = "buildings.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def assert_is_the_town(area: Area) -> None:
    """Six polygons of the known sizes, places and heights; one height is drawn."""
    assert len(area.footprints) == 6
    expected = {360.0: 12.0, 200.0: 12.0, 196.0: 12.192, 780.0: 15.0, 72.0: 15.0, 400.0: None}
    middle = shapely.union_all(np.asarray(area.footprints)).envelope.centroid
    town = [shapely.Polygon(outline, holes) for b in make.town()[: make.NOT_A_BUILDING] for outline, holes in b.parts]
    town_middle = shapely.union_all(np.asarray(town)).envelope.centroid
    for ground, height in expected.items():
        (index,) = (i for i, f in enumerate(area.footprints) if abs(f.area - ground) < 0.004 * ground)
        if height is None:
            assert 7.0 <= area.heights[index] <= 60.0
        else:
            assert area.heights[index] == pytest.approx(height, abs=1e-9)
        (truth,) = (f for f in town if f.area == pytest.approx(ground))
        assert len(area.footprints[index].interiors) == len(truth.interiors)
        for axis in ("x", "y"):  # east stays east and north stays north
            have = getattr(area.footprints[index].centroid, axis) - getattr(middle, axis)
            assert have == pytest.approx(getattr(truth.centroid, axis) - getattr(town_middle, axis), abs=0.03)
    assert area.width == pytest.approx(180.0, abs=0.03)
    assert area.depth == pytest.approx(139.0, abs=0.03)
    assert "OpenStreetMap contributors" in area.attribution or "licence of its source" in area.attribution


@pytest.mark.parametrize("name", make.FORMATS | make.LIBRARY_FORMATS)
def test_every_format_gives_the_same_town(tmp_path: Path, name: str) -> None:
    assert_is_the_town(footprints.load(make.write(tmp_path, name)))


@pytest.mark.parametrize("name", [n for n in make.FORMATS if not n.endswith("pbf")])
def test_fixture_writer_is_deterministic(tmp_path: Path, name: str) -> None:
    assert make.write(tmp_path, name).read_bytes() == make.write(tmp_path, name).read_bytes()


def test_folder_prefers_the_exact_file_and_names_the_place(tmp_path: Path) -> None:
    folder = tmp_path / "kremsville"
    folder.mkdir()
    make.write(folder, "buildings.json")
    assert footprints.load(folder).name == "kremsville"
    assert footprints.load(folder / "buildings.json").name == "kremsville"
    square = {"p": [[0, 0], [9, 0], [9, 9], [0, 9]]}
    write_json(folder, {"buildings": [square]}, "buildings_exact.json")
    assert len(footprints.load(folder).footprints) == 1


def test_single_geojson_feature(tmp_path: Path) -> None:
    ring = [list(make.degrees(p)) for p in make.rectangle(0, 0, 10, 20)]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    area = footprints.load(write_json(tmp_path, feature, "one.geojson"))
    assert area.footprints[0].area == pytest.approx(200.0, rel=1e-4)
    assert area.name == "one"


@pytest.mark.parametrize(
    ("tags", "height"),
    [
        ({"height": "12"}, 12.0),
        ({"height": "12 m"}, 12.0),
        ({"height": "12m"}, 12.0),
        ({"height": "12,5"}, 12.5),
        ({"height": 12.5}, 12.5),
        ({"height": "40 ft"}, 12.192),
        ({"height": "40'"}, 12.192),
        ({"building:height": "9"}, 9.0),
        ({"building:levels": "4"}, 12.0),
        ({"building:levels": 2.5}, 7.5),
        ({"height": "tall", "building:levels": "3"}, 9.0),
        ({"height": "9", "building:levels": "30"}, 9.0),
    ],
)
def test_tagged_heights(tmp_path: Path, tags: dict[str, Any], height: float) -> None:
    ring = [list(make.degrees(p)) for p in make.rectangle(0, 0, 10, 20)]
    feature = {"type": "Feature", "properties": tags, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    assert footprints.load(write_json(tmp_path, feature, "a.geojson")).heights[0] == pytest.approx(height)


@pytest.mark.parametrize("height", ["tall", "-3", "0", "99999", None])
def test_heights_that_cannot_be_are_drawn_from_the_seed(tmp_path: Path, height: Any) -> None:
    ring = [list(make.degrees(p)) for p in make.rectangle(0, 0, 10, 20)]
    feature = {
        "type": "Feature",
        "properties": {"height": height},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    path = write_json(tmp_path, feature, "a.geojson")
    drawn = [footprints.load(path, seed).heights[0] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert 7.0 <= min(drawn) <= max(drawn) <= 60.0


def test_missing_heights_follow_the_stated_distribution() -> None:
    heights = footprints.missing_heights(20_000, np.random.default_rng(3))
    assert heights.min() == 7.0
    assert heights.max() <= 60.0
    assert np.median(heights) == pytest.approx(12.0, rel=0.02)
    inner = np.quantile(heights, [0.5, 0.8413])
    assert np.log(inner[1] / inner[0]) == pytest.approx(0.4, rel=0.05)


def test_self_crossing_outline_becomes_valid_polygons(tmp_path: Path) -> None:
    bow_tie = {"p": [[0, 0], [10, 10], [10, 0], [0, 10]], "h": 9}
    area = footprints.load(write_json(tmp_path, {"buildings": [bow_tie]}))
    assert len(area.footprints) == 2
    assert all(f.is_valid for f in area.footprints)
    assert sum(f.area for f in area.footprints) == pytest.approx(50.0)


def test_self_crossing_outline_with_a_spike_is_not_lost(tmp_path: Path) -> None:
    # made valid, this is a collection of a multipolygon and a line
    spiked = {"p": [[0, 0], [10, 10], [10, 0], [0, 10], [0, 5], [-30, 5], [0, 5]], "h": 9}
    area = footprints.load(write_json(tmp_path, {"buildings": [spiked]}))
    assert sum(f.area for f in area.footprints) == pytest.approx(50.0)


@pytest.mark.skipif(find_spec("sionna") is None, reason="the packaged scenes need sionna-rt")
def test_sionna_scene() -> None:
    area = footprints.load("sionna:etoile")
    assert area.name == "sionna_etoile"
    assert len(area.footprints) > 100
    assert (area.heights > 0).all()
    with pytest.raises(InputError, match=r"sionna:atlantis: no such scene.*munich"):
        footprints.load("sionna:atlantis")


SQUARE = [[0, 0], [9, 0], [9, 9], [0, 9]]
BROKEN = {
    "not JSON": "{",
    "a list": "[1, 2]",
    "a number": "7",
    "another object": '{"houses": []}',
    "no buildings": '{"buildings": []}',
    "buildings null": '{"buildings": null}',
    "a building that is text": '{"buildings": ["house"]}',
    "no outline": '{"buildings": [{"h": 3}]}',
    "two corners": '{"buildings": [{"p": [[0, 0], [1, 1]]}]}',
    "a degenerate outline": '{"buildings": [{"p": [[0, 0], [5, 5], [9, 9]]}]}',
    "NaN": '{"buildings": [{"p": [[0, 0], [9, 0], [9, NaN], [0, 9]]}]}',
    "infinity": '{"buildings": [{"p": [[0, 0], [9, 0], [Infinity, 9], [0, 9]]}]}',
    "a number beyond float": f'{{"buildings": [{{"p": [[0, 0], [1{"0" * 400}, 0], [9, 9], [0, 9]]}}]}}',
    "levels beyond float": f'{{"buildings": [{{"p": {SQUARE}, "lv": 1{"0" * 400}}}]}}',
    "text for a height": f'{{"buildings": [{{"p": {SQUARE}, "h": "tall"}}]}}',
    "deeply nested": "[" * 200_000,
    "no features": '{"type": "FeatureCollection", "features": []}',
    "a feature that is null": '{"type": "FeatureCollection", "features": [null]}',
    "metres for degrees": json.dumps(
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [900, 0], [900, 900], [0, 0]]]}}
    ),
    "the whole globe": json.dumps(
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90]]]},
        }
    ),
    "an empty polygon": '{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": []}}',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_broken_json_is_an_input_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"broken\.json") as caught:
        footprints.load(path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_unknown_endings_say_what_to_give(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "none.json", "no such file"),
        (tmp_path, r"no buildings\.json in this folder"),
    ):
        with pytest.raises(InputError, match=words):
            footprints.load(path)
    (tmp_path / "map.shp").write_bytes(b"")
    with pytest.raises(InputError, match=r"map\.shp: not a footprint file: it is empty; use GeoJSON"):
        footprints.load(tmp_path / "map.shp")


@pytest.mark.parametrize("name", ["town.osm.gz", "town.osm.pbf"])
def test_truncated_osm_is_an_input_error(tmp_path: Path, name: str) -> None:
    path = make.write(tmp_path, name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="town"):
        footprints.load(path)


def test_osm_without_buildings(tmp_path: Path) -> None:
    path = tmp_path / "empty.osm"
    path.write_text('<?xml version="1.0"?><osm version="0.6"></osm>', encoding="utf-8")
    with pytest.raises(InputError, match="no buildings in it"):
        footprints.load(path)


@pytest.mark.skipif(not EXTRACTS.is_dir(), reason="no OpenStreetMap extracts beside the repository")
@pytest.mark.parametrize("name", ["gh_krems.osm.gz", "pyrosm_test.osm.pbf"])
def test_real_extracts(name: str) -> None:
    area = footprints.load(EXTRACTS / name)
    assert len(area.footprints) > 100
    assert all(f.is_valid and f.area >= 1.0 for f in area.footprints)
    assert 200.0 < area.size < 50_000.0
    assert abs(area.bounds[0] + area.bounds[2]) < 0.05 * area.size  # projected about the middle


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
number = st.one_of(st.floats(-200, 200), st.integers(-200, 200), st.floats())
ring = st.lists(st.lists(number, min_size=2, max_size=3), max_size=6) | anything
building = st.fixed_dictionaries(
    {"p": ring},
    optional={"holes": st.lists(ring, max_size=2) | anything, "h": number | anything, "lv": number | anything},
)
geometry = st.fixed_dictionaries(
    {"type": st.sampled_from(["Polygon", "MultiPolygon", "Point"]) | anything},
    optional={"coordinates": st.lists(ring, max_size=2) | st.lists(st.lists(ring, max_size=2), max_size=2) | anything},
)
tags = st.dictionaries(
    st.sampled_from(["building", "height", "building:levels"]), number | st.text(max_size=6), max_size=3
)
feature = st.fixed_dictionaries({"geometry": geometry | anything}, optional={"properties": tags | anything}) | anything
document = st.one_of(
    anything,
    st.fixed_dictionaries({"buildings": st.lists(building, min_size=1, max_size=4) | anything}),
    st.fixed_dictionaries({"type": st.just("FeatureCollection"), "features": st.lists(feature, max_size=4) | anything}),
    st.fixed_dictionaries({"type": st.just("Feature"), "geometry": geometry | anything}, optional={"properties": tags}),
)


def assert_area_or_input_error(path: Path) -> None:
    try:
        area = footprints.load(path)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert isinstance(area, Area)
        assert len(area.footprints) == len(area.heights) > 0
        assert all(f.is_valid for f in area.footprints)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(document=document)
@example(document={"buildings": [{"p": [[0, 0], [1e308, 0], [1e308, 1e308], [0, 1e308]]}]})
def test_any_json_gives_an_area_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, document: Any) -> None:
    assert_area_or_input_error(write_json(tmp_path_factory.mktemp("json"), document, "x.json"))


BEGINNINGS = (
    b"", b"{", b"[", b"<osm>", b"\x1f\x8b\x08", b"BZh9", b"PK\x03\x04", b"PAR1", b"SQLite format 3\x00",
    b"fgb\x03fgb\x01", b"\x00\x00\x27\x0a", b"\x00\x00\x00\x0d\x0a\x09OSMHeader", b"a,WKT\n", b"\xff\xfe",
    b"\xfd7zXZ\x00",
)  # fmt: skip


@property_test
@given(
    data=st.binary(max_size=200),
    beginning=st.sampled_from(BEGINNINGS),
    ending=st.sampled_from(["json", "osm.gz", "shp"]),
)
def test_any_bytes_give_an_area_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, beginning: bytes, ending: str
) -> None:
    path = tmp_path_factory.mktemp("bytes") / f"x.{ending}"
    path.write_bytes(beginning + data)
    assert_area_or_input_error(path)


@property_test
@given(
    name=st.sampled_from(sorted(make.FORMATS | make.LIBRARY_FORMATS)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=4),
    keep=st.floats(0, 1),
)
def test_damaged_files_give_an_area_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, flips: list[tuple[float, int]], keep: float
) -> None:
    path = make.write(tmp_path_factory.mktemp("damaged"), name)
    data = bytearray(path.read_bytes())
    for where, bit in flips:
        data[int(where * len(data))] ^= 1 << bit
    path.write_bytes(data[: int(len(data) * (keep if keep < 0.5 else 1.0))])
    assert_area_or_input_error(path)


def test_an_outline_of_buildings_json_far_off_is_refused(tmp_path: Path) -> None:
    """One slip of the keyboard would make a square of 10²⁴ km, on which nothing can be drawn."""
    houses = [{"p": [[x, 0], [x + 8, 0], [x + 8, 9], [x, 9]], "h": 9.0} for x in (0.0, 20.0, 40.0)]
    path = tmp_path / "buildings.json"
    path.write_text(json.dumps({"buildings": [*houses, {"p": [[60, 0], [1e30, 0], [68, 9]], "h": True}]}))
    with pytest.raises(InputError, match=r"outline 4 reaches .* km from the middle"):
        footprints.load(path)
    path.write_text(json.dumps({"buildings": [*houses, {"p": [[60, 0], [68, 0], [68, 9]], "h": True}]}))
    assert footprints.load(path).drawn.tolist() == [False, False, False, True]  # true is no height of 1 m


def test_a_zip_with_a_nameless_member_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "town.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b", "{}")
    data = path.read_bytes()
    central = data.rindex(b"PK\x01\x02")
    path.write_bytes(data[: central + 28] + b"\0\0" + data[central + 30 : central + 46] + data[central + 47 :])
    with pytest.raises(InputError, match=r"town\.zip: ") as caught:
        footprints.load(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_with_more_features_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make.write(tmp_path, "town.geojson")
    monkeypatch.setattr(vector_files, "MOST_FEATURES", 4)
    with pytest.raises(InputError, match="more than 4 features; cut an extract"):
        footprints.load(path)
