"""OpenStreetMap's buildings as Overpass, JOSM and osmium save them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uniair.area import footprints
from uniair.area.area import Area
from uniair.errors import InputError

from . import towns
from .towns import Osm, rectangle


def load(folder: Path, town: Osm | str | bytes, name: str = "town.osm", order: str = "nwr") -> Area:
    return footprints.load(towns.write(folder, name, town.text(order) if isinstance(town, Osm) else town))


def grounds(area: Area) -> list[int]:
    """Areas to the hundred m², sorted."""
    return sorted(round(p.area, -2) for p in area.footprints)


def reasons(area: Area) -> dict[str, str]:
    assert area.reading is not None
    return {reason: count.example for reason, count in area.reading.left_out.items()}


def courtyard(sign: int = 1) -> Osm:
    town = Osm(sign)
    town.way(-80, 0, 20, 20, building="yes", height="11")
    outer, inner = town.way(0, 0, 60, 60), town.way(10, 10, 40, 40)
    island, other = town.way(20, 20, 20, 20), town.way(100, 0, 30, 30)
    town.relation(
        [(outer, "outer"), (inner, "inner"), (island, "outer"), (other, "outer")],
        type="multipolygon", building="yes", height="21",
    )  # fmt: skip
    return town


@pytest.mark.parametrize("order", ["nwr", "wnr", "rwn", "rnw"])
@pytest.mark.parametrize("sign", [1, -1])
def test_any_order_and_negative_ids(tmp_path: Path, order: str, sign: int) -> None:
    area = load(tmp_path, courtyard(sign), order=order)
    assert grounds(area) == [400, 400, 900, 2000]
    assert sorted(area.heights.tolist()) == [11.0, 21.0, 21.0, 21.0]
    assert sum(len(p.interiors) for p in area.footprints) == 1


@pytest.mark.parametrize("name", ["map.xml", "interpreter", "export.json"])
def test_the_name_says_nothing(tmp_path: Path, name: str) -> None:
    assert len(load(tmp_path, courtyard(), name).footprints) == 4


def test_other_encodings(tmp_path: Path) -> None:
    text = courtyard().text()
    assert len(load(tmp_path, text.replace("UTF-8", "UTF-16").encode("utf-16")).footprints) == 4
    assert len(load(tmp_path, text.replace("UTF-8", "ISO-8859-1").encode("latin-1")).footprints) == 4


@pytest.mark.parametrize("mark", ['action="delete"', 'visible="false"', 'action="delete" visible="true"'])
def test_what_was_deleted_is_gone(tmp_path: Path, mark: str) -> None:
    town = courtyard(-1)
    town.parts["w"][0] = town.parts["w"][0].replace("<way ", f"<way {mark} ")
    assert len(load(tmp_path, town).footprints) == 3
    town.parts["r"][0] = town.parts["r"][0].replace("<relation ", f"<relation {mark} ")
    with pytest.raises(InputError, match="no buildings in it"):
        load(tmp_path, town)


def test_the_last_of_two_objects_of_one_id_stands(tmp_path: Path) -> None:
    town = courtyard()
    longer = town.parts["w"][0].replace('v="11"', 'v="14"')
    town.parts["w"].append(longer)
    assert sorted(load(tmp_path, town).heights.tolist()) == [14.0, 21.0, 21.0, 21.0]


def test_relations_of_old_have_the_tags_on_the_outer_way(tmp_path: Path) -> None:
    town = Osm()
    outer, inner = town.way(0, 0, 60, 60, building="yes", height="9"), town.way(10, 10, 40, 40)
    town.relation([(outer, "outer"), (inner, "inner")], type="multipolygon")
    area = load(tmp_path, town)
    assert grounds(area) == [2000]
    assert reasons(area) == {}


def test_a_building_said_twice_stands_once(tmp_path: Path) -> None:
    town = Osm()
    outer, inner = town.way(0, 0, 60, 60, building="yes"), town.way(10, 10, 40, 40)
    town.relation([(outer, "outer"), (inner, "inner")], type="multipolygon", building="yes", height="9")
    area = load(tmp_path, town)
    assert grounds(area) == [2000]
    assert reasons(area) == {"outline of a relation that stands": "way 5"}


def test_a_building_within_a_courtyard_stands(tmp_path: Path) -> None:
    town = Osm()
    outer, inner = town.way(0, 0, 60, 60), town.way(10, 10, 40, 40, building="shed", height="7")
    town.relation([(outer, "outer"), (inner, "inner")], type="multipolygon", building="yes", height="9")
    assert sorted(load(tmp_path, town).heights.tolist()) == [7.0, 9.0]


def test_members_without_roles_and_rings_of_several_ways(tmp_path: Path) -> None:
    town = Osm()
    corners = [town.node(*at) for at in ((0, 0), (30, 0), (30, 40), (0, 40))]
    halves = [town.line(corners[:3]), town.line([corners[0], corners[3], corners[2]])]
    hole = town.way(10, 10, 10, 10)
    town.relation([(halves[0], ""), (halves[1], ""), (hole, "")], type="multipolygon", building="yes", height="8")
    assert grounds(load(tmp_path, town, order="rwn")) == [1100]


def test_relations_cut_off_at_the_border(tmp_path: Path) -> None:
    town = Osm()
    whole, hole = town.way(0, 0, 60, 60), town.way(200, 0, 20, 20)
    town.relation([(whole, "outer"), (9999, "outer"), (hole, "inner")], type="multipolygon", building="yes", height="9")
    corners = [town.node(*at) for at in ((300, 0), (330, 0), (330, 40))]
    town.relation([(town.line(corners), "outer"), (9998, "outer")], type="multipolygon", building="yes", height="8")
    area = load(tmp_path, town)
    assert grounds(area) == [3600]
    assert list(reasons(area)) == ["a relation cut off at the border"]
    assert area.reading is not None
    assert list(area.reading.guessed) == ["a relation cut off at the border, its whole rings stand"]


def test_ways_that_are_no_outlines_are_counted(tmp_path: Path) -> None:
    town = Osm()
    town.way(0, 0, 20, 20, building="yes", height="9")
    corners = [town.node(*at) for at in ((300, 0), (330, 0), (330, 40))]
    open_way = town.line(corners, building="yes")
    cut = town.line([corners[0], corners[1], 9999, corners[0]], building="yes")
    triangle = town.line([*corners, corners[0]], building="yes", height="6")
    point = town.node(50, 50)
    town.parts["n"][-1] = town.parts["n"][-1].replace("/>", '><tag k="building" v="yes"/></node>')
    area = load(tmp_path, town)
    assert sorted(area.heights.tolist()) == [6.0, 9.0]
    assert triangle
    assert reasons(area) == {
        "an open outline": f"way {open_way}, 3 nodes", "cut off at the border": f"way {cut}",
        "a point or line, no outline": f"node {point}",
    }  # fmt: skip


def answer(**more: Any) -> dict[str, Any]:
    corners = rectangle(0, 0, 20, 20)
    nodes = [{"type": "node", "id": i, "lon": x, "lat": y} for i, (x, y) in enumerate(corners[:4], 1)]
    way = {"type": "way", "id": 8, "nodes": [1, 2, 3, 4, 1], "tags": {"building": "yes", "height": "9"}}
    return {"version": 0.6, "generator": "Overpass API", **more, "elements": [way, *nodes]}


def test_what_overpass_answers_in_json(tmp_path: Path) -> None:
    area = load(tmp_path, json.dumps(answer()), "interpreter")
    assert (grounds(area), area.heights.tolist()) == ([400], [9.0])
    area = load(tmp_path, json.dumps(answer(remark="runtime error: Query timed out")), "interpreter")
    assert area.reading is not None
    assert "the server remarked: runtime error: Query timed out" in area.reading.notes


def test_geometries_within_the_answer(tmp_path: Path) -> None:
    def places(*at: float) -> list[dict[str, float]]:
        return [{"lon": x, "lat": y} for x, y in rectangle(*at)]

    members = [
        {"type": "way", "ref": 11, "role": "outer", "geometry": places(40, 0, 40, 40)},
        {"type": "way", "ref": 12, "role": "inner", "geometry": places(50, 10, 20, 20)},
        {"type": "node", "ref": 3, "role": "entrance", "lat": 0, "lon": 0},
    ]
    way = {
        "type": "way",
        "id": 5,
        "nodes": [1, 2, 3, 4, 1],
        "geometry": places(0, 0, 20, 20),
        "tags": {"building": "yes"},
    }
    relation = {"type": "relation", "id": 6, "members": members, "tags": {"type": "multipolygon", "building": "yes"}}
    assert grounds(load(tmp_path, json.dumps({"elements": [relation, way]}), "a.json")) == [400, 1200]

    def nd(found: list[dict[str, float]]) -> str:
        return "".join(f'<nd lat="{at["lat"]}" lon="{at["lon"]}"/>' for at in found)

    inside = "".join(
        f'<member type="way" ref="{m["ref"]}" role="{m["role"]}">{nd(m["geometry"])}</member>'  # type: ignore[arg-type]
        for m in members[:2]
    )
    tags = '<tag k="type" v="multipolygon"/><tag k="building" v="yes"/>'
    text = f'<osm version="0.6"><relation id="6"><bounds/>{inside}{tags}</relation></osm>'
    assert grounds(load(tmp_path, text)) == [1200]


@pytest.mark.parametrize(
    "text",
    [
        '<osm><way><nd ref="1"/></way></osm>',
        '<osm><node id="x" lat="1" lon="2"/></osm>',
        f'<osm><node id="{"9" * 40}" lat="1" lon="2"/></osm>',
        '<osm><node id="1" lat="a" lon="2"/></osm>',
        '<osm><node id="1" lat="1" lon="2"/>',
        '<!DOCTYPE osm [<!ENTITY e SYSTEM "file:///etc/hostname">]><osm><node id="1" lat="1" lon="2">'
        '<tag k="building" v="&e;"/></node></osm>',
        "<!DOCTYPE osm [<!ENTITY e0 'lol'>"
        + "".join(f"<!ENTITY e{i} '{f'&e{i - 1};' * 10}'>" for i in range(1, 12))
        + ']><osm><node id="1" lat="1" lon="2"><tag k="building" v="&e11;"/></node></osm>',
    ],
)
def test_broken_or_hostile_xml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"town\.osm: not a readable OpenStreetMap file"):
        load(tmp_path, text)
