"""Files of any name, wrapping, order and encoding: read by their content, or refused in one line that helps."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from shapely.geometry import MultiPolygon, Polygon

from uniair.area import footprints
from uniair.area.area import Area
from uniair.errors import InputError

from . import make, towns
from .towns import collection, feature, named_crs, rectangle

TWO = collection(
    feature(rectangle(0, 0, 20, 20), building="yes", height="12"),
    feature(rectangle(40, 0, 20, 30), building="house", height="9 m"),
)
TEXT = json.dumps(TWO)
FEATURES = [json.dumps(each) for each in TWO["features"]]


def assert_are_the_two(area: Area) -> None:
    found = sorted((round(p.area, -2), h) for p, h in zip(area.footprints, area.heights.tolist(), strict=True))
    assert found == [(400, 12.0), (600, 9.0)]


@pytest.mark.parametrize(
    ("name", "data"),
    {
        "no ending": TEXT,
        "wrong.osm.pbf": TEXT,
        "wrong.csv": TEXT,
        "wrong.shp": TEXT,
        "mark.geojson": "\ufeff" + TEXT,
        "utf16.geojson": TEXT.encode("utf-16"),
        "utf16le.geojson": TEXT.encode("utf-16-le"),
        "utf32.json": TEXT.encode("utf-32"),
        "packed.geojson.gz": gzip.compress(TEXT.encode()),
        "packed.geojson": bz2.compress(TEXT.encode()),
        "packed.xz": lzma.compress(TEXT.encode()),
        "twice.json": gzip.compress(bz2.compress(TEXT.encode())),
        "lines.json": "\n".join(FEATURES),
        "lines.csv.gz": gzip.compress("\n".join(FEATURES).encode()),  # as Microsoft's footprints come
        "sequence.json": "".join(f"\x1e{each}\n" for each in FEATURES),
        "list.json": f"[{','.join(FEATURES)}]",
        "nested.json": json.dumps(collection(collection(TWO["features"][0]), TWO["features"][1])),
        "one after another.json": "\n".join(json.dumps(collection(each)) for each in TWO["features"]),
        "indented.json": json.dumps(TWO, indent=2),
        "null crs.json": json.dumps({**TWO, "crs": None}),
        "crs84.json": json.dumps({**TWO, **named_crs("urn:ogc:def:crs:OGC:1.3:CRS84")}),
    }.items(),
)
def test_geojson_in_all_its_forms(tmp_path: Path, name: str, data: Any) -> None:
    assert_are_the_two(footprints.load(towns.write(tmp_path, name, data)))


def test_a_geometry_alone_and_a_feature_without_properties(tmp_path: Path) -> None:
    for document in (TWO["features"][0]["geometry"], {**TWO["features"][0], "properties": None}):
        assert len(footprints.load(towns.write(tmp_path, "a.json", document)).footprints) == 1


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("page", "<!DOCTYPE html><html>rate limited</html>", "a web page, no map"),
        ("map.kml", '<?xml version="1.0"?>\n<!-- x --><kml/>', "XML of the kind <kml>"),
        ("day.osc", "<osmChange/>", "a file of OpenStreetMap changes"),
        ("empty.geojson", b"", "empty.geojson: not a footprint file: it is empty"),
        ("note.txt", "hello", "not a footprint file; use GeoJSON"),
        ("noise", bytes(range(256)) * 9, "not a footprint file"),
        ("cut.geojson", TEXT[:-40], "JSON that can't be read .*; is the file whole"),
        ("cut.json.gz", gzip.compress(TEXT.encode())[:-20], "gzip that can't be unpacked .*; is the download whole"),
        ("cut.zip", b"PK\x03\x04" + b"x" * 99, "a zip that can't be unpacked"),
        ("deep.json", '{"type": "FeatureCollection", "features": ' + "[" * 100_000, "JSON that can't be read"),
        ("deep", "[" * 100_000, "not valid JSON"),
        ("table.csv", "a,b\n1,2\n", "a table without a column of outlines as WKT"),
        ("mixed.csv", 'g\n"SRID=1;POLYGON((0 0,1 0,1 1,0 0))"\n"SRID=2;POLYGON((0 0,1 0,1 1,0 0))"\n', "several SRIDs"),
        ("o.json", '{"elements": []}', "no buildings in it"),
        ("o2.json", '{"elements": [{"type": "way", "id": 3, "nodes": ["a"]}]}', "not a readable answer of Overpass"),
    ],
)  # fmt: skip
def test_what_is_no_map_is_refused_in_one_line(tmp_path: Path, name: str, data: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        footprints.load(towns.write(tmp_path, name, data))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_a_file_that_unpacks_to_far_more_than_text_does(tmp_path: Path) -> None:
    packed = gzip.compress(b"[" + b" " * (80 << 20))
    with pytest.raises(InputError, match="unpacks to more than"):
        footprints.load(towns.write(tmp_path, "bomb.geojson.gz", packed))


def test_zips_and_folders_give_the_one_file_of_buildings(tmp_path: Path) -> None:
    for name in ("gis_osm_buildings_a_free_1.geojson", "gis_osm_landuse_a_free_1.geojson"):
        towns.write(tmp_path / "region", name, TWO)
    towns.write(tmp_path / "region", "README.md", "# about, these, files")
    assert_are_the_two(footprints.load(tmp_path / "region"))
    with zipfile.ZipFile(tmp_path / "region.zip", "w") as archive:
        for file in (tmp_path / "region").iterdir():
            archive.write(file, f"../outside/{file.name}")
        archive.writestr("__MACOSX/._x", b"x")
    assert_are_the_two(footprints.load(tmp_path / "region.zip"))
    towns.write(tmp_path / "two", "a.geojson", TWO)
    towns.write(tmp_path / "two", "b.geojson", TWO)
    with pytest.raises(InputError, match=r"two: 2 files \(a\.geojson, b\.geojson\); give one of buildings alone"):
        footprints.load(tmp_path / "two")


@pytest.mark.parametrize("lost", [".shx", ".cpg", ".dbf"])
def test_shapefiles_that_lost_a_part(tmp_path: Path, lost: str) -> None:
    path = make.write(tmp_path, "town.shp")
    path.with_suffix(lost).unlink()
    assert len(footprints.load(path).footprints) == (6 if lost != ".dbf" else 7)  # without tags all are buildings
    if lost != ".dbf":
        assert len(footprints.load(path.with_suffix(".dbf")).footprints) == 6
    assert [f.suffix for f in footprints.files(path)] == sorted({".cpg", ".dbf", ".prj", ".shp", ".shx"} - {lost})


def write_layers(path: Path, *layers: tuple[str, str]) -> Path:
    """A GeoPackage of layers, (name, name of its one column)."""
    import pyogrio

    outlines = shapely.to_wkb(np.array([Polygon(each["geometry"]["coordinates"][0]) for each in TWO["features"]]))
    for number, (layer, column) in enumerate(layers):
        pyogrio.raw.write(
            path, outlines, [np.array(["yes", "yes"], dtype=object)], [column], layer=layer, append=number > 0,
            geometry_type="Polygon", crs="EPSG:4326",
        )  # fmt: skip
    return path


def test_the_layer_of_buildings_is_found(tmp_path: Path) -> None:
    for number, layers in enumerate(
        [(("Parks", "x"), ("My Buildings", "x")), (("a", "leisure"), ("b", "building")), (("only", "x"),)]
    ):
        assert len(footprints.load(write_layers(tmp_path / f"{number}.gpkg", *layers)).footprints) == 2
    with pytest.raises(InputError, match=r"2 layers \(a, b\); give one of buildings alone"):
        footprints.load(write_layers(tmp_path / "x.gpkg", ("a", "building"), ("b", "building")))


def test_a_geopackage_of_another_name(tmp_path: Path) -> None:
    path = write_layers(tmp_path / "a.gpkg", ("only", "building"))
    assert len(footprints.load(path.rename(tmp_path / "download")).footprints) == 2


def outlines() -> list[Polygon]:
    return [Polygon(each["geometry"]["coordinates"][0]) for each in TWO["features"]]


@pytest.mark.parametrize(
    "rows",
    [
        ["latitude,longitude,area_in_meters,confidence,geometry,height", '1,2,3,0.8,"{0}",12', '1,2,3,0.8,"{1}",9'],
        ["the_geom,HEIGHTROOF", '"MULTI{0m}",39.3700787', '"MULTI{1m}",29.5275591'],
        ["id;height;WKT", "1;12,0;{0}", "2;9,0;{1}", "3;;"],
        ["height\tgeom", "12\tSRID=4326;{0}", "9\tSRID=4326;{1}"],
        ["height,geom", "12,{0h}", "9,{1h}"],
    ],
)
def test_tables_of_outlines(tmp_path: Path, rows: list[str]) -> None:
    cells: dict[str, str] = {}
    for number, outline in enumerate(outlines()):
        cells[f"{{{number}}}"] = shapely.to_wkt(outline, rounding_precision=12)
        cells[f"{{{number}m}}"] = shapely.to_wkt(MultiPolygon([outline]), rounding_precision=12).removeprefix("MULTI")
        cells[f"{{{number}h}}"] = shapely.to_wkb(shapely.set_srid(outline, 4326), hex=True, include_srid=True)
    text = "\n".join(rows)
    for mark, cell in cells.items():
        text = text.replace(mark, cell)
    area = footprints.load(towns.write(tmp_path, "table.txt", text))
    assert_are_the_two(Area(area.name, area.footprints, area.heights.round(4), area.bounds))


def write_parquet(path: Path, wkb: list[bytes | None], geo: dict[str, Any] | None, **columns: Any) -> Path:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"geometry": pyarrow.array(wkb, pyarrow.binary()), **columns})
    if geo is not None:
        table = table.replace_schema_metadata({"geo": json.dumps(geo)})
    parquet.write_table(table, path)
    return path


def test_overture_in_parquet(tmp_path: Path) -> None:
    geo = {"primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB"}}}
    wkb = [*shapely.to_wkb(np.array(outlines())).tolist(), None, shapely.to_wkb(Polygon(rectangle(90, 0, 99, 99)))]
    path = write_parquet(
        tmp_path / "download", wkb, geo, id=list("abcd"), height=[12.0, None, 3.0, None],
        num_floors=[None, 3, 1, None], is_underground=[False, None, False, True], names=[{"primary": "x"}] * 4,
    )  # fmt: skip
    area = footprints.load(path)
    assert_are_the_two(area)
    assert area.reading is not None
    assert {r: c.example for r, c in area.reading.left_out.items()} == {
        "without a geometry": "id c", "underground": "id d, is_underground=True",
    }  # fmt: skip
    geo["columns"]["geometry"]["encoding"] = "polygon"  # type: ignore[index]
    with pytest.raises(InputError, match="geometries encoded as polygon"):
        footprints.load(write_parquet(tmp_path / "native", wkb, geo))
    with pytest.raises(InputError, match="is the file whole"):
        footprints.load(towns.write(tmp_path, "cut", path.read_bytes()[:-9]))


def test_numbers_that_are_none_do_not_hide_the_rest(tmp_path: Path) -> None:
    text = TEXT[:-2] + ', {"type": "Feature", "properties": {"building": "yes"}, "geometry": {"type": "Polygon", '
    text += '"coordinates": [[[NaN, 38], [-9, 38], [-9, 39], [NaN, 38]]]}}]}'
    area = footprints.load(towns.write(tmp_path, "a.json", text))
    assert_are_the_two(area)
    assert area.reading is not None
    assert sum(count.count for count in area.reading.left_out.values()) == 1


def test_a_key_with_a_broken_escape_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "town.geojson"
    path.write_text('{"type": "Feature", "\\q": 1, "features": []}')
    with pytest.raises(InputError, match=r"town\.geojson: ") as caught:
        footprints.load(path)
    assert len(str(caught.value).splitlines()) == 1
