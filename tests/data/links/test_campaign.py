"""Campaigns: reproducible however they are run, interrupted or split; and maps that agree with the positions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.area import towns
from tests.tracer import needs_tracer
from uniair.area.area import Area
from uniair.area.raster import occupancy
from uniair.data.links import campaign, shards
from uniair.data.links.campaign import Campaign
from uniair.data.links.deployment import Deployment
from uniair.data.recipe import noted
from uniair.errors import InputError
from uniair.propagation.ray_tracing import EDGES, RayTracing
from uniair.radio import Radio

REAL_PLACE = Path(__file__).parents[3].parent / "shared" / "data" / "buildings" / "krems"
TINY = Campaign(
    places=("procedural:1", "procedural:2"),
    areas=2,
    bs=2,
    ue=3,
    side=(100.0, 130.0),
    pixels=32,
    areas_per_shard=1,
    ray_tracing=RayTracing(samples=1000, depth=2),
)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that a reader sees; names that start with a dot are left from a kill."""
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if not p.name.startswith(".")}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`TINY` traced in one go; only ever read."""
    out = tmp_path_factory.mktemp("reference")
    campaign.run(TINY, out, workers=1)
    return out


def copied(reference: Path, out: Path, without: str = "") -> Path:
    out.mkdir()
    for name, data in contents(reference).items():
        if name != without:
            (out / name).write_bytes(data)
    return out


@needs_tracer
def test_what_a_campaign_writes(reference: Path) -> None:
    assert list(contents(reference)) == [
        "links-00000.safetensors",
        "links-00001.safetensors",
        "manifest.json",
        "recipe.json",
    ]
    manifest = shards.read_manifest(reference)
    links = shards.read(reference)
    assert manifest["links"] == len(links) > 0
    assert manifest["areas"] == len(links.areas) == 2
    assert manifest["places"] == ["procedural_1", "procedural_2"]
    assert manifest["recipe"] == json.loads((reference / "recipe.json").read_text(encoding="utf-8"))
    assert manifest["attribution"] == "uniair procedural generator"
    assert np.bincount(links.area).max() <= TINY.bs * TINY.ue
    assert links.maps.shape == (2, 32, 32)
    assert (links.bs[:, 2] == 6.0).all()
    assert (links.ue[:, 2] == 1.5).all()
    np.testing.assert_array_equal(links.los, links.paths.los())
    distance = np.linalg.norm(links.bs - links.ue, axis=1)[links.paths.link_of_path]
    assert (links.paths.delay * 299_792_458.0 > distance - 1e-3).all()


@needs_tracer
def test_links_carry_the_carrier_that_they_were_traced_at(reference: Path) -> None:
    assert "radio" not in shards.shard_header(reference / "links-00000.safetensors")  # paper 1's, as ever
    low = replace(TINY, ray_tracing=replace(TINY.ray_tracing, frequency=3.5e9))
    assert campaign.trace_area(low, "procedural:1", 0).radios == (Radio(carrier=3.5e9),)


@needs_tracer
def test_a_run_that_never_began_blocks_nothing(reference: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "recipe.json").write_text(json.dumps({"campaign": {"areas": 99}}))
    campaign.run(TINY, out, workers=1)
    assert contents(out) == contents(reference)
    with pytest.raises(InputError, match="another campaign"):
        campaign.run(replace(TINY, ue=4), out, workers=1)


@needs_tracer
@pytest.mark.parametrize("lost", ["links-00000.safetensors", "links-00001.safetensors", "manifest.json"])
def test_a_lost_file_is_made_again_byte_for_byte(reference: Path, tmp_path: Path, lost: str) -> None:
    out = copied(reference, tmp_path / "out", without=lost)
    campaign.run(TINY, out, workers=1)
    assert contents(out) == contents(reference)


@needs_tracer
def test_a_finished_campaign_traces_nothing_again(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copied(reference, tmp_path / "out")

    def never(*_: Any) -> int:
        raise AssertionError

    monkeypatch.setattr(campaign, "trace_shard", never)
    campaign.run(TINY, out, workers=1)
    assert contents(out) == contents(reference)


KILLED_IN_THE_SECOND_SHARD = """
import os, signal, sys
from pathlib import Path
from uniair.data.links import campaign, shards
from tests.data.links.test_campaign import TINY

out, save = Path(sys.argv[1]), shards.save_file

def save_file(tensors, path, metadata):
    save(tensors, path, metadata)
    if (out / "links-00000.safetensors").exists():
        os.truncate(path, 1000)
        os.kill(os.getpid(), signal.SIGKILL)

shards.save_file = save_file
campaign.run(TINY, out, workers=1)
"""


@needs_tracer
def test_a_campaign_killed_while_it_writes_goes_on_to_the_same_bytes(reference: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    paths = os.pathsep.join([str(root), str(root / "src")])
    done = subprocess.run(
        [sys.executable, "-c", KILLED_IN_THE_SECOND_SHARD, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": paths},
        stderr=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert list(contents(tmp_path)) == ["links-00000.safetensors", "recipe.json"]
    with pytest.raises(InputError, match="has not finished: run the same uniair trace again"):
        shards.read(tmp_path)
    campaign.run(TINY, tmp_path, workers=1)
    assert contents(tmp_path) == contents(reference)


@needs_tracer
def test_the_number_of_workers_changes_nothing(reference: Path, tmp_path: Path) -> None:
    campaign.run(TINY, tmp_path, workers=2)
    assert contents(tmp_path) == contents(reference)


@needs_tracer
def test_a_limit_takes_the_first_areas_and_the_rest_can_follow(reference: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="limit is 0; it must be at least 1"):
        campaign.run(TINY, tmp_path, workers=1, limit=0)
    campaign.run(TINY, tmp_path, workers=1, limit=1)
    part, whole = contents(tmp_path), contents(reference)
    assert shards.read_manifest(tmp_path)["areas"] == 1
    assert part["links-00000.safetensors"] == whole["links-00000.safetensors"]
    campaign.run(TINY, tmp_path, workers=1)
    assert contents(tmp_path) == whole


@needs_tracer
@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"ue": 4}, {"places": ("procedural:1",)}, {"ray_tracing": RayTracing(samples=1000, depth=1)}],
    ids=str,
)
def test_another_recipe_in_the_same_folder(reference: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    out = copied(reference, tmp_path / "out")
    with pytest.raises(InputError, match="holds another campaign"):
        campaign.run(replace(TINY, **change), out, workers=1)
    assert contents(out) == contents(reference)


@needs_tracer
def test_links_over_diagonals_of_walls_are_not_gone_on_with(reference: Path, tmp_path: Path) -> None:
    masts = replace(TINY, ray_tracing=replace(TINY.ray_tracing, every_edge=True))
    assert campaign.recipe(masts)["tracer"] == campaign.recipe(TINY)["tracer"] + EDGES
    out = copied(reference, tmp_path / "older", without="links-00001.safetensors")
    older = campaign.recipe(masts) | {"tracer": campaign.recipe(TINY)["tracer"]}
    (out / "recipe.json").write_text(json.dumps(older))
    before = contents(out)
    with pytest.raises(InputError, match="older: holds links that an older version traced over diagonals of walls"):
        campaign.run(masts, out, workers=1)
    with pytest.raises(InputError, match="holds another campaign"):  # of another seed that is not all
        campaign.run(replace(masts, seed=9), out, workers=1)
    assert contents(out) == before
    (out / "recipe.json").write_text(json.dumps(campaign.recipe(TINY)))  # without every edge they are what they were
    assert campaign.run(TINY, out, workers=1)["links"] == json.loads((reference / "manifest.json").read_text())["links"]


@needs_tracer
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ray_tracing": RayTracing(frequency=7e8)}, "concrete is not defined at 0.7 GHz"),
        ({"deployment": Deployment(carriers=(28e9, 2e8))}, "concrete is not defined at 0.2 GHz"),
        ({"deployment": Deployment(carriers=(2e8,), vary_tracer=True)}, "none of .* is defined at 0.2 GHz"),
        ({"ray_tracing": RayTracing(building_material="cheese")}, "material 'cheese' is none"),
        ({"coverage": (0.9, 0.95)}, "no crop of"),
        ({"places": ("nowhere.geojson",)}, "no such file"),
    ],
    ids=["carrier", "one of several carriers", "drawn materials", "material", "crops", "place"],
)
def test_a_run_that_never_began_does_not_block_the_corrected_one(
    reference: Path, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=says):
        campaign.run(replace(TINY, **change), out, workers=1)
    assert not out.exists()


@needs_tracer
def test_what_is_refused_in_the_middle_keeps_its_results(reference: Path, tmp_path: Path) -> None:
    out = copied(reference, tmp_path / "out", without="links-00001.safetensors")
    before = contents(out)
    with pytest.raises(InputError, match="no such"), noted(out, json.loads(before["recipe.json"]), str, "links-*"):
        raise InputError("no such")
    assert contents(out) == before


@needs_tracer
def test_a_damaged_recipe(reference: Path, tmp_path: Path) -> None:
    out = copied(reference, tmp_path / "out")
    (out / "recipe.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"recipe\.json: not valid JSON"):
        campaign.run(TINY, out, workers=1)


@needs_tracer
def test_a_failing_area_leaves_no_manifest_and_no_part(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no crop of .* passes the filters; widen --coverage"):
        campaign.run(replace(TINY, coverage=(0.98, 0.99)), tmp_path, workers=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"places": ()}, "no places; give footprint files"),
        ({"areas": 0}, "areas must be at least 1"),
        ({"bs": 0}, "bs must be at least 1"),
        ({"side": (200.0, 100.0)}, "the smaller first"),
        ({"side": (0.0, 100.0)}, "two lengths in metres"),
        ({"seed": -1}, "seed is -1; give a whole number from 0"),
        ({"bs_height": -5.0}, "bs_height is -5 m"),
        ({"ue_height": 0.0}, "ue_height is 0 m"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"campaign: .*{words}"):
        replace(TINY, **wrong)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (("procedural:x",), "procedural:x: the seed of a generated town is a whole number"),
        (("procedural:-1",), "procedural:-1: the seed"),
        (("procedural:1", "procedural:1"), "two places have the same name"),
        (("nowhere.geojson",), r"nowhere\.geojson: no such file"),
    ],
)
def test_places_that_cannot_be(tmp_path: Path, places: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        campaign.recipe(replace(TINY, places=places, root=str(tmp_path)))


def test_the_recipe_does_not_know_where_files_lie(tmp_path: Path) -> None:
    square = {"p": [[0, 0], [20, 0], [20, 20], [0, 20]], "h": 9}
    recipes = []
    for where in ("here", "there"):
        place = tmp_path / where / "town"
        place.mkdir(parents=True)
        (place / "buildings.json").write_text(json.dumps({"buildings": [square]}), encoding="utf-8")
        recipes.append(campaign.recipe(replace(TINY, places=("town",), root=str(tmp_path / where))))
    assert recipes[0] == recipes[1]
    assert recipes[0]["sources"]["town"].startswith("sha256:")
    square["h"] = 10
    (tmp_path / "town").mkdir()
    (tmp_path / "town" / "buildings.json").write_text(json.dumps({"buildings": [square]}), encoding="utf-8")
    assert campaign.recipe(replace(TINY, places=("town",), root=str(tmp_path))) != recipes[0]


def test_the_plan_interleaves_places() -> None:
    places = tuple(f"procedural:{i}" for i in range(1, 5))
    plan = campaign.plan(replace(TINY, places=places, areas=40))
    assert len(plan) == len(set(plan)) == 40
    for place in places:
        numbers = [number for name, number in plan if name == place]
        assert numbers == list(range(len(numbers)))
        share = len(numbers) / 40
        for prefix in range(1, 41):
            assert abs(sum(name == place for name, _ in plan[:prefix]) - share * prefix) <= 1.5
    assert {name for name, _ in plan[:5]} == set(places)
    assert plan == campaign.plan(replace(TINY, places=places, areas=40, areas_per_shard=7, bs=1))


def test_fewer_areas_than_places() -> None:
    places = tuple(f"procedural:{i}" for i in range(1, 5))
    assert len(campaign.plan(replace(TINY, places=places, areas=2))) == 2


def test_a_crop_depends_on_seed_place_and_number_alone() -> None:
    one, rng = campaign.draw_crop(TINY, "procedural:1", 3)
    two, again = campaign.draw_crop(replace(TINY, places=("procedural:1",), bs=1, areas=9), "procedural:1", 3)
    assert one.name == two.name == "procedural_1/00003"
    assert [f.wkb for f in one.footprints] == [f.wkb for f in two.footprints]
    assert rng.random() == again.random()
    for other in (
        campaign.draw_crop(TINY, "procedural:1", 4),
        campaign.draw_crop(replace(TINY, seed=1), "procedural:1", 3),
    ):
        assert [f.wkb for f in other[0].footprints] != [f.wkb for f in one.footprints]


def test_crops_pass_the_filters_and_buildings_exceed_the_base_stations() -> None:
    settings = replace(TINY, coverage=(0.2, 0.4), least_buildings=6, least_height=9.0)
    for number in range(5):
        area, _ = campaign.draw_crop(settings, "procedural:2", number)
        seen = area.statistics()
        assert 0.2 <= seen.coverage <= 0.4
        assert seen.buildings >= 6
        assert area.heights.min() >= 9.0
        assert TINY.side[0] <= area.size <= TINY.side[1]


RASTER = 512


def dropped(place: str, number: int) -> tuple[Area, NDArray[np.float64], NDArray[np.uint8]]:
    """A crop, many BSs and UEs in it, and its map image."""
    area, rng = campaign.draw_crop(replace(TINY, places=(place,), side=(120.0, 260.0)), place, number)
    points = np.concatenate([area.drop(100, 6.0, rng), area.drop(400, 1.5, rng)])
    return area, points, occupancy(area, RASTER)


def hits(area: Area, points: NDArray[np.float64], image: NDArray[np.uint8]) -> int:
    column, row = (points[:, axis] / area.size * RASTER for axis in (0, 1))
    return int(image[row.astype(int), column.astype(int)].sum())


PLACES = [
    "procedural:1",
    "procedural:4",
    "procedural:9",
    pytest.param(
        str(REAL_PLACE),
        marks=pytest.mark.skipif(not REAL_PLACE.is_dir(), reason="no building footprints beside the repository"),
        id="krems",
    ),
]


@pytest.mark.parametrize("place", PLACES)
def test_no_bs_or_ue_stands_inside_a_building_of_the_map(place: str) -> None:
    for number in range(3):
        area, points, image = dropped(place, number)
        assert image.any()
        assert hits(area, points, image) == 0
        # the check has teeth: a map with its rows, its columns or its axes exchanged fails it
        for wrong in (image[::-1], image[:, ::-1], image.T):
            assert hits(area, points, wrong) > 0


def town_of_houses(folder: Path) -> Path:
    """Twelve houses of 9 m beside a canopy of 4 m, as GeoJSON in degrees."""
    rings = [(40 * i, 40 * j, 25, 25) for i in range(4) for j in range(3)]
    features = [towns.feature(towns.rectangle(*ring), building="yes", height="9") for ring in rings]
    features.append(towns.feature(towns.rectangle(160, 0, 25, 25), building="roof", height="4"))
    return towns.write(folder, "town.geojson", towns.collection(*features))


def test_a_canopy_is_not_raised(tmp_path: Path) -> None:
    settings = replace(TINY, places=(str(town_of_houses(tmp_path)),), side=(150.0, 220.0), coverage=(0.0, 1.0))
    area = next(a for a, _ in (campaign.draw_crop(settings, settings.places[0], n) for n in range(20)) if a.bases.any())
    assert set(area.heights[area.obstacles]) == {9.0}
    assert set(area.heights[~area.obstacles]) == {4.0}


def test_users_of_ones_own_stand_where_they_are(tmp_path: Path) -> None:
    at = [towns.degrees(32, 5 + 10 * i) for i in range(9)] + [towns.degrees(5, 5)]
    users = towns.write(tmp_path, "users.csv", "lon,lat\n" + "".join(f"{x},{y}\n" for x, y in at))
    settings = replace(TINY, places=(str(town_of_houses(tmp_path)),), users=str(users), side=(50.0, 60.0))
    squares, left = campaign.users_by_square(settings)
    assert sum(len(found) for _, found in squares) == 9
    assert left == {"inside a building": 1}
    assert campaign.plan(settings) == [(settings.places[0], n) for n in range(len(squares))]
    city = campaign.load_place(settings.places[0], settings.seed)
    for number, ((x, y), found) in enumerate(squares):
        area, _ = campaign.draw_crop(settings, settings.places[0], number)
        area.require_outdoors(found, "UE")
        assert area.size == 60.0
        assert not city.inside_building(found + np.array([x, y, 0.0])).any()
    assert campaign.recipe(settings)["campaign"]["users"].startswith("sha256:")
    assert "users" not in campaign.recipe(TINY)["campaign"]
    with pytest.raises(InputError, match="users stand in one place"):
        replace(settings, places=("procedural:1", "procedural:2"))


@needs_tracer
def test_links_of_ones_own_users(tmp_path: Path) -> None:
    at = [towns.degrees(32, 5 + 10 * i) for i in range(9)]
    users = towns.write(tmp_path, "users.csv", "lon,lat,z\n" + "".join(f"{x},{y},2.5\n" for x, y in at))
    settings = replace(TINY, places=(str(town_of_houses(tmp_path)),), users=str(users), side=(60.0, 200.0), bs=2)
    manifest = campaign.run(settings, tmp_path / "links", workers=1)
    assert 0 < manifest["links"] <= 18
    assert manifest["areas"] == 1
