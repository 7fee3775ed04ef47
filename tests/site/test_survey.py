"""The square, its base stations and its links: what is refused, and what a killed run leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from tests.area import make
from tests.site.make import synthetic_paths
from tests.site.make_plan import sites, village
from tests.tracer import needs_tracer
from uniair.area.area import Area
from uniair.data.links.campaign import load_place
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.propagation.ray_tracing import RayTracing
from uniair.radio import Radio
from uniair.site import planning, site_recipe, survey
from uniair.site.site import Station, obstacles
from uniair.site.site_coverage import Planning
from uniair.site.steps import begin
from uniair.site.survey import Survey

TOWN = Survey("procedural:7", ("400,400", "420.5,400,10,90"), side=120.0, ue=120)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tracer replaced by closed forms; UEs of each call."""
    calls: list[int] = []

    def scene(area: Area, config: Any) -> Area:
        return area

    def trace(area: Area, bs: Any, ue: Any, config: Any) -> Any:
        calls.append(len(ue))
        return synthetic_paths(area, bs[0], ue)

    monkeypatch.setattr(survey, "build_scene", scene)
    monkeypatch.setattr(survey, "trace_scene", trace)
    monkeypatch.setattr(survey, "CHUNK", 50)
    return calls


def test_the_square_lies_about_its_stations() -> None:
    ground = survey.crop(TOWN)
    assert ground.area.size == 120
    first, second = ground.stations
    assert np.allclose(first.position, (49.75, 60.0, 6.0))
    assert np.allclose(second.position, (70.25, 60.0, 10.0))
    assert (first.bearing, second.bearing) == (0.0, pytest.approx(-np.pi / 2))  # the boresight north, and east
    assert np.allclose(ground.corner, (350.25, 340.0))
    centred = survey.crop(replace(TOWN, centre="400,410"))
    assert np.allclose(centred.stations[0].position[:2], (60.0, 50.0))
    assert survey.crop(replace(TOWN, least_height=30.0)).area.heights.min() >= 30.0


def test_the_model_is_told_of_no_sheds() -> None:
    low, high = Station("low", (60.0, 60.0, 6.0)), Station("high", (60.0, 60.0, 20.0))
    heights = np.array([3.0, 3.7, 3.8, 12.0])
    blocks = tuple(box(x, 10.0, x + 10.0, 20.0) for x in (10.0, 30.0, 50.0, 70.0))
    area = Area("town", blocks, heights, (0.0, 0.0, 128.0, 128.0))

    def seen(*stations: Station) -> list[bool]:
        image = obstacles(area, stations)
        return [bool(image[30, int(2 * x)]) for x in (15.0, 35.0, 55.0, 75.0)]

    assert seen(low) == seen(high, low) == [False, False, True, True]
    assert seen(high) == [False, False, False, True]


def test_a_geographic_place_is_asked_in_degrees(tmp_path: Path) -> None:
    place = str(make.write(tmp_path, "town.geojson"))
    lon, lat = make.degrees((20.0, 20.0))
    ground = survey.crop(Survey(place, (f"{lon:.7f},{lat:.7f}",), side=150.0))
    assert ground.area.georeference is not None
    back = ground.area.georeference.to_degrees(np.array([ground.stations[0].position]))
    assert np.allclose(back, [[lon, lat]], atol=1e-6)
    with pytest.raises(InputError, match="not longitude, latitude in degrees"):
        survey.crop(Survey(place, ("400,400",)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bs": ()}, "give a base station"),
        ({"bs": ("400",)}, "--bs 400: not lon,lat"),
        ({"bs": ("a,b",)}, "--bs a,b: not lon,lat"),
        ({"bs": ("nan,400",)}, "not lon,lat"),
        ({"bs": ("1,2,3,4,5",)}, "not lon,lat"),
        ({"bs": ("400,9000",)}, "lies outside procedural:7, whose buildings cover x 0 to 800 m"),
        ({"bs": ("400,400", "700,400")}, "lies outside the square of 120 m; raise --side"),
        ({"bs": ("400,400", "400,400")}, "same point"),
        ({"bs": ("400,400,-3",)}, "height -3 m"),
        ({"side": 0.0}, "--side 0: must be above 0"),
        ({"ue": 3}, "--ue 3: give at least"),
        ({"seed": -1}, "--seed -1: give a whole number from 0"),
        ({"centre": "1,2,3"}, "--centre 1,2,3: not lon,lat"),
        ({"place": "nowhere.geojson"}, "no such file"),
    ],
)
def test_bad_requests_are_one_line(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        survey.crop(replace(TOWN, **change))
    assert len(str(caught.value).splitlines()) == 1


def test_a_station_in_a_building_or_far_from_any() -> None:
    town = load_place("procedural:7", 0)
    x, y = town.footprints[40].representative_point().coords[0]
    with pytest.raises(InputError, match=r"stands inside a building .* give \+3 for 3 m above it"):
        survey.crop(replace(TOWN, bs=(f"{x},{y}",)))
    with pytest.raises(InputError, match="no buildings within 1 m"):
        survey.crop(replace(TOWN, bs=("400,400",), side=1.0))


SITES = "site,x_m,y_m,above_roof_m,height_m,azimuth_deg,power_dbm,carrier_mhz,bandwidth_mhz,spacing_khz"


def roof_of(place: str = "procedural:7") -> tuple[float, float, float]:
    """A point on a roof, and the roof's height, m."""
    town = load_place(place, 0)
    x, y = town.footprints[40].representative_point().coords[0]
    return x, y, float(town.top(np.array([[x, y]]))[0])


def test_masts_stand_on_roofs_and_have_several_sectors(tmp_path: Path) -> None:
    x, y, roof = roof_of()
    rows = [f"A,{x},{y},3,,{azimuth},46,{carrier},100,30" for azimuth, carrier in ((0, 3500), (120, 3500), (0, 2600))]
    (tmp_path / "sites.csv").write_text("\n".join([SITES, *rows, f"B,{x + 60},{y},,80,90,40,3500,100,30"]))
    ground = survey.crop(replace(TOWN, bs=(), sites=str(tmp_path / "sites.csv"), side=300.0, ue=1))
    assert [station.name for station in ground.stations] == ["A-1", "A-2", "A-3", "B"]
    assert {station.position[2] for station in ground.stations[:3]} == {roof + 3}
    assert ground.stations[1].bearing == pytest.approx(-np.radians(120))
    assert [(source.name, source.radio.carrier) for source in ground.sources] == [
        ("A@3500MHz", 3.5e9), ("A@2600MHz", 2.6e9), ("B", 3.5e9)
    ]  # fmt: skip
    assert [ground.source(i).name for i in range(4)] == ["A@3500MHz", "A@3500MHz", "A@2600MHz", "B"]
    typed = survey.crop(replace(TOWN, bs=(f"{x},{y},+3,90",), side=200.0))
    assert typed.stations[0].position[2] == roof + 3
    assert typed.sectors[0].azimuth == pytest.approx(90)


def test_masts_that_can_not_stand_there(tmp_path: Path) -> None:
    x, y, roof = roof_of()
    wanted = replace(TOWN, bs=(), sites=str(tmp_path / "sites.csv"), side=200.0)
    tail = "90,40,3500,100,30"
    for rows, says in (
        (
            [f"A,{x},{y},,5,{tail}"],
            rf"row 2, height_m: stands inside a building at 5 m .*{roof:.1f} m; give above_roof_m",
        ),
        ([f"A,400,400,3,,{tail}"], "row 2, above_roof_m: no roof there; give height_m"),
        ([f"A,400,9000,,20,{tail}"], "row 2, x_m and y_m: lies outside procedural:7, whose buildings cover"),
        ([f"A,400,400,,20,{tail}", f"B,400,400,,30,{tail}"], "row 3, x_m and y_m: two base stations stand at the same"),
        ([f"A,400,400,,20,{tail}", f"B,700,400,,20,{tail}"], "row 2, x_m and y_m: lies outside the square of 200 m"),
    ):
        (tmp_path / "sites.csv").write_text("\n".join([SITES, *rows]))
        with pytest.raises(InputError, match=says) as caught:
            survey.crop(wanted)
        assert len(str(caught.value).splitlines()) == 1
    (tmp_path / "sites.csv").write_text(
        "\n".join([SITES.replace("x_m,y_m", "longitude,latitude"), f"A,15,48,,20,{tail}"])
    )
    with pytest.raises(InputError, match="row 2, latitude: degrees, but it is not known where on Earth procedural_7"):
        survey.crop(wanted)
    with pytest.raises(InputError, match="--bs and --sites: give one"):
        survey.crop(replace(wanted, bs=("400,400",)))
    with pytest.raises(InputError, match=r"no roof there; give the height above ground, without \+"):
        survey.crop(replace(TOWN, bs=("400,400,+3",)))


def test_a_mast_is_traced_once_for_its_sectors(traced: list[int], tmp_path: Path) -> None:
    rows = [f"A,400,400,,20,{azimuth},46,3500,100,30" for azimuth in (0, 120, 240)]
    (tmp_path / "sites.csv").write_text("\n".join([SITES, *rows]))
    wanted = replace(TOWN, bs=(), sites=str(tmp_path / "sites.csv"))
    assert sum(survey.trace_links(tmp_path / "links", survey.crop(wanted), wanted)) == 120
    assert traced == [50, 50, 20]
    assert Store(tmp_path / "links").areas == ("procedural_7/A",)
    assert (Store(tmp_path / "links")[0].paths.counts == 3).all()  # nothing is there twice
    assert Store(tmp_path / "links").one_radio().carrier == 3.5e9


def test_neighbours_are_traced_together() -> None:
    plan = np.random.default_rng(0).uniform(0, 600, (1000, 2))
    order = survey.by_neighbourhood(plan)
    assert np.array_equal(np.sort(order), np.arange(1000))
    spread = [plan[order[start : start + 250]].std(0).mean() for start in range(0, 1000, 250)]
    assert max(spread) < 0.7 * plan.std(0).mean()
    assert survey.by_neighbourhood(np.zeros((3, 2))).tolist() == [0, 1, 2]


def test_a_recipe_knows_what_a_folder_is_of(tmp_path: Path) -> None:
    plain = site_recipe.recipe(replace(TOWN, bs=("400,400",)))["survey"]
    assert not {"sites", "power", "users", "azimuth"} & plain.keys()  # a folder of the first version goes on
    # it does not, where its azimuth meant another thing
    assert site_recipe.recipe(TOWN)["survey"]["azimuth"] == "compass"
    wanted = replace(TOWN, bs=(), sites=str(tmp_path / "sites.csv"))
    noted = []
    for row in ("20,0,46,3500,100,30", "20,90,43,3500,20,15", "25,0,46,3500,100,30", "20,0,46,3600,100,30"):
        (tmp_path / "sites.csv").write_text("\n".join([SITES, f"A,400,400,,{row}"]))
        noted.append(site_recipe.recipe(wanted)["survey"])
    assert noted[0] == noted[1]  # the same paths
    assert noted[2]["sites"] != noted[0]["sites"] != noted[3]["sites"]


def test_a_killed_run_goes_on(traced: list[int], tmp_path: Path) -> None:
    ground = survey.crop(TOWN)
    whole = list(survey.trace_links(tmp_path / "whole", ground, TOWN))
    assert whole == [0, 50, 50, 20, 50, 50, 20]
    begun = survey.trace_links(tmp_path / "killed", ground, TOWN)
    assert [next(begun) for _ in range(3)] == [0, 50, 50]
    begun.close()
    assert list(survey.trace_links(tmp_path / "killed", ground, TOWN)) == [100, 20, 50, 50, 20]
    assert traced == [50, 50, 20] * 2 + [50, 50, 20] * 2
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "killed").iterdir())
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    store = Store(tmp_path / "whole")
    assert store.areas == ("procedural_7/bs0", "procedural_7/bs1")
    assert store.counts.tolist() == [120, 120]
    assert np.allclose(store[1].bearing, -np.pi / 2)
    assert np.array_equal(store[0].ue, store[1].ue)


def test_links_carry_the_carrier_that_they_were_traced_at(traced: list[int], tmp_path: Path) -> None:
    low = replace(TOWN, radio=Radio(carrier=3.5e9))
    for survey_, radio in ((TOWN, Radio()), (low, Radio(carrier=3.5e9))):
        folder = tmp_path / f"{radio.carrier:g}"
        assert sum(survey.trace_links(folder, survey.crop(survey_), survey_)) == 240
        assert Store(folder).one_radio() == radio


def test_a_folder_holds_one_site(tmp_path: Path) -> None:
    made, out = site_recipe.recipe(TOWN, epochs=3), tmp_path / "site"
    site_recipe.note_recipe(out, made)
    (out / ".site.json.host.1.part").write_text("half")
    site_recipe.note_recipe(out, made)
    assert not list(out.glob(".*.part"))
    site_recipe.note_recipe(out, site_recipe.recipe(TOWN, epochs=2))  # nothing was made yet: it gives way
    site_recipe.note_recipe(out, made)
    (out / "links").mkdir()
    (out / "links" / "links-00000.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds another site \(other epochs, ue\)"):
        site_recipe.note_recipe(out, site_recipe.recipe(replace(TOWN, ue=500), epochs=4))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.doc").write_text("")
    with pytest.raises(InputError, match="holds something else"):
        site_recipe.note_recipe(tmp_path / "other", made)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.doc"]


def test_a_plan_over_diagonals_of_walls_is_traced_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "2.2.0")
    monkeypatch.setattr(planning, "check_materials", lambda config: None)
    village(tmp_path / "village.osm")
    sites(tmp_path / "sites.csv")
    wanted = Survey(str(tmp_path / "village.osm"), (), side=160.0, ue=30, sites=str(tmp_path / "sites.csv"),
                    ray_tracing=survey.OVER_ROOFS)  # fmt: skip
    how, out = Planning(cell=5.0, rays=1), tmp_path / "plan"
    made = site_recipe.recipe(wanted, tracer="sionna-rt 2.2.0", maps={"cell": 5.0, "rays": 1})
    site_recipe.note_recipe(out, made)
    (out / "links").mkdir()
    (out / "links" / "links-00000.safetensors").write_bytes(b"")
    for asked, says in (
        (wanted, r"plan: holds links that an older version traced over diagonals of walls too, .*; trace them again in "
                 "another --out, or delete this folder$"),
        (replace(wanted, ue=40), r"holds another site \(other tracer, ue\); give another --out$"),
    ):  # fmt: skip
        with begin(out, "plan") as steps, pytest.raises(InputError, match=says):
            planning.make(asked, how, out, steps)
    assert json.loads((out / "recipe.json").read_text()) == made


@needs_tracer
def test_real_links_are_those_of_the_chunks(tmp_path: Path) -> None:
    wanted = replace(TOWN, bs=("400,400",), ray_tracing=RayTracing(samples=2000, depth=1))
    ground = survey.crop(wanted)
    assert sum(survey.trace_links(tmp_path, ground, wanted)) == 120
    links = Store(tmp_path)[0]
    assert 20 < len(links) <= 120
    assert links.los.any()
    straight = np.linalg.norm(links.ue - links.bs, axis=1)[links.los] / 299_792_458.0
    first = np.minimum.reduceat(links.paths.delay, links.paths.offsets[:-1])[links.los]
    assert np.allclose(first, straight, rtol=1e-3)
