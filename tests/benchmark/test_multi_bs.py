"""Fig. 12: every method and combination, on the same users, and that a run goes on where it stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
from tests.conftest import geometric_links

import uniair
from uniair.benchmark import multi_bs
from uniair.benchmark.benchmark import Setup
from uniair.benchmark.multi_bs import CONNECTED, FIG12, PAPER, VIT, Budget
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.data.links.store import Store
from uniair.errors import InputError

USERS = 50


def city(place: str, missing: int) -> Links:
    """UEs with links to three BSs; the first few do not hear the last one."""
    links = geometric_links(seed=3, areas=1, per_area=3 * USERS, place=place)
    stations = np.array([[10, 20, 6], [80, 30, 6], [50, 90, 6]], dtype=np.float32)
    links = replace(links, ue=links.ue[np.tile(np.arange(USERS), 3)], bs=stations[np.repeat(np.arange(3), USERS)])
    return links.select(np.setdiff1d(np.arange(3 * USERS), 2 * USERS + np.arange(missing)))


@pytest.fixture
def cities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(multi_bs, "COMMON", 20)
    monkeypatch.setattr(multi_bs, "BUDGETS", {"quick": Budget(None, 1, 1)})
    both = Links.concatenate([city("here", 10), city("there", 40)])
    shards.write_shard(tmp_path / "cities/links-00000.safetensors", both)
    shards.write_manifest(tmp_path / "cities", {}, "")
    return tmp_path / "cities"


def test_every_method_and_combination(cities: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "theirs.npy", np.ones((Store(cities).links, 3), dtype=np.float32))
    setup = Setup(uniair.build("tiny"), tmp_path / "fig12", {"deepmimo": cities}, seeds=2)
    found = FIG12.run(setup, embeddings=(tmp_path / "theirs.npy",))
    assert found["cities"] == {"here/00000": {"users": USERS, "hear_all": USERS - 10, "stations": 3}}
    assert found["left_out"] == ["there/00000"]
    combinations = ["1", "2", "3", "1+2", "1+3", "2+3", "1+2+3"]
    for method, row in found["rows"].items():
        alone = method == "TOFT, one BS with a head of its own"
        assert list(row["by_combination"]) == (combinations[:3] if alone else [*combinations, CONNECTED]), method
        assert list(row["by_count"]) == (["1"] if alone else ["1", "2", "3", CONNECTED])
        mean = np.mean([row["by_combination"][key]["mean"] for key in combinations[:3]])
        assert row["by_count"]["1"]["cdf90_m"]["mean"] == pytest.approx(mean)
        for figures in row["by_count"].values():
            assert 0 <= figures["median_m"]["mean"] <= figures["cdf90_m"]["mean"]
    assert {VIT, "theirs, concatenation"} <= set(found["rows"])
    assert found["rows"]["fingerprints, 5 nearest"]["tuned_parameters"] == 0
    text = "\n".join(heading + table.text() + table.markdown() for heading, table in FIG12.tables(found))
    assert all(name in text and f"{value:.3f}" in text for name, value in PAPER.items())
    FIG12.draw(found, matplotlib.figure.Figure())
    runs = sorted((setup.out / "runs").glob("*.json"))
    assert len(runs) == 2 * len(found["rows"])
    for path in runs:
        if json.loads(path.read_text())["tuned_parameters"]:
            path.unlink()
            break
    assert json.dumps(FIG12.run(setup, embeddings=(tmp_path / "theirs.npy",))) == json.dumps(found)


def test_fingerprints_find_a_channel_that_they_have_seen(cities: Path) -> None:
    store = Store(cities)
    place = multi_bs.City(store, 0, uniair.build("tiny"), {})
    place.__dict__["divide"] = lambda seed: (np.arange(USERS), np.arange(20))
    found = place.methods(Budget(None, 1, None))["fingerprints, 5 nearest"](0)
    assert all(figures["cdf90_m"] < 0.01 for figures in found["combinations"].values())


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    shards.write_shard(tmp_path / "links/links-00000.safetensors", geometric_links(seed=3, areas=1))
    shards.write_manifest(tmp_path / "links", {}, "")
    with pytest.raises(InputError, match="fig12 needs --deepmimo"):
        FIG12.run(Setup(uniair.build("tiny"), tmp_path / "fig12", {}))
    with pytest.raises(InputError, match="in no area 200 UEs have paths to all of several BSs"):
        FIG12.run(Setup(uniair.build("tiny"), tmp_path / "fig12", {"deepmimo": tmp_path / "links"}))
