"""One pass over a data set: the figures are NumPy's own, and what physics rules out is found and named."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.drives.deepsense.make import make_gathered, measure
from tests.data.synthetic import synthetic_links
from uniair.data.drives.drive import Drive, read_drives, write_drives
from uniair.data.drives.drive_statistics import drives_statistics
from uniair.data.importing import import_data
from uniair.data.links import shards
from uniair.data.links.link_statistics import LinksStatistics, kind, links_statistics
from uniair.data.links.links import Links
from uniair.data.statistics import FINDINGS
from uniair.errors import InputError
from uniair.propagation.paths import LOS, UNKNOWN
from uniair.radio import SPEED_OF_LIGHT, ULA, Radio

RECIPE = {"campaign": {"ray_tracing": {"frequency": 28e9}}}


def written(folder: Path, *parts: Links) -> Path:
    for i, links in enumerate(parts):
        shards.write_shard(folder / f"links-{i:05d}.safetensors", links)
    shards.write_manifest(folder, RECIPE, "licence")
    return folder


def test_figures_equal_those_of_numpy(tmp_path: Path) -> None:
    parts = [synthetic_links(seed, links=300, place=f"place{seed % 2}-{seed}") for seed in range(3)]
    found, links = links_statistics(written(tmp_path, *parts)), Links.concatenate(parts)
    values = found.as_json()
    assert (values["areas"], values["links"]) == (9, 900)
    assert values["los_share"] == pytest.approx(links.los.mean(), rel=1e-4)
    assert values["paths_a_link"] == pytest.approx(links.paths.counts.mean(), rel=1e-4)
    for name in sorted(set(links.places)):
        here = links.places[links.area] == name
        assert values["places"][name]["links"] == here.sum()
        assert values["places"][name]["los_share"] == pytest.approx(links.los[here].mean(), rel=1e-4)
    numbers, counts = np.unique(links.paths.counts, return_counts=True)
    assert values["links_with_paths"] == {str(n): c for n, c in zip(numbers, counts.tolist(), strict=True)}
    for code in (LOS, 1, 2):
        assert values["interactions"][kind(code)]["paths"] == (links.paths.interactions == code).sum()
    assert sum(entry["power_share"] for entry in values["interactions"].values()) == pytest.approx(1, rel=1e-4)

    expected: dict[str, list[float]] = {}
    for i in range(len(links)):
        rows = slice(*links.paths.offsets[i : i + 2])
        power, delay = np.abs(links.paths.gain[rows].astype(complex)) ** 2, links.paths.delay[rows].astype(float)
        weight = power / power.sum()
        spread = math.sqrt(np.cov(delay, aweights=weight, ddof=0)) if len(delay) > 1 else 0.0
        one = {
            "distance_m": math.dist(links.bs[i], links.ue[i]),
            "path_gain_db": 10 * math.log10(power.sum()),
            "first_delay_s": delay.min(),
            "delay_spread_s": spread,
        }
        for name, azimuth in (("departure", links.paths.aod_azimuth), ("arrival", links.paths.aoa_azimuth)):
            mean = abs((weight * np.exp(1j * azimuth[rows].astype(float))).sum())
            one[f"{name}_azimuth_spread_rad"] = math.sqrt(-2 * math.log(min(mean, 1)))
        for name, value in one.items():
            expected.setdefault(name, []).append(value)
    widths = {"distance_m": 5, "path_gain_db": 2, "first_delay_s": 4e-8, "delay_spread_s": 4e-8}
    for name, all_values in expected.items():
        assert values[name]["mean"] == pytest.approx(np.mean(all_values), rel=1e-3, abs=1e-4), name
        width = widths.get(name, 0.04)
        assert values[name]["p50"] == pytest.approx(np.median(all_values), abs=width), name
        assert values[name]["median_los"] == pytest.approx(np.median(np.array(all_values)[links.los]), abs=width), name
    assert values["area_size_m"]["max"] == pytest.approx(links.sizes.max(), rel=1e-4)
    assert values["building_coverage"]["mean"] == pytest.approx(links.maps.mean(), rel=1e-4)

    distance = np.array(expected["distance_m"])
    first = (distance >= 0) & (distance < 50)
    assert values["los_share_over_distance"][0]["links"] == first.sum()
    assert values["los_share_over_distance"][0]["los_share"] == pytest.approx(links.los[first].mean(), rel=1e-4)
    assert found.gain_over_distance[1].sum() == links.los.sum()


def test_kinds_say_what_happened_whatever_the_order() -> None:
    assert [kind(code) for code in (0, -7, 1, 12, 211, 34)] == [
        "LOS",
        "unknown",
        "1 reflection",
        "1 reflection + 1 diffraction",
        "2 reflections + 1 diffraction",
        "1 scattering + 1 transmission",
    ]
    found = LinksStatistics()
    found.interactions = {21: (3, 0.5), 12: (4, 0.25)}
    assert found.kinds() == {"1 reflection + 1 diffraction": (7, 0.75)}


def later(links: Links, metres: float, kinds: tuple[int, ...]) -> Links:
    moved = np.where(np.isin(links.paths.interactions, kinds), metres / SPEED_OF_LIGHT, 0).astype(np.float32)
    return replace(links, paths=replace(links.paths, delay=links.paths.delay + moved))


def faster(links: Links) -> Links:
    return replace(links, paths=replace(links.paths, delay=links.paths.delay * np.float32(0.5)))


def louder(links: Links) -> Links:
    return replace(links, paths=replace(links.paths, gain=links.paths.gain * 2))


def more_areas(links: Links) -> Links:
    return replace(
        links, areas=(*links.areas, "town/99999"), maps=np.concatenate([links.maps, links.maps[:1]]),
        sizes=np.append(links.sizes, links.sizes[:1]), mapped=np.append(links.mapped, True),
        radios=(*links.radios, links.radios[0]),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "breaks", "count", "where"),
    [
        ("shorter", faster, None, "of links-00000.safetensors"),
        ("los_length", lambda links: later(links, 1.0, (LOS,)), None, "of links-00000.safetensors"),
        ("los_flag", lambda links: replace(links, los=~links.los), 48, "town/00000 link 0 of links-00000.safetensors"),
        ("above_free_space", louder, None, "of links-00000.safetensors"),
        ("empty_areas", more_areas, 1, "town/99999"),
        ("twice", lambda links: links.select(np.append(np.arange(48), [5, 7])), 2, "link"),
    ],
)
def test_each_thing_that_physics_rules_out_is_found(
    key: str, breaks: Callable[[Links], Links], count: int | None, where: str, links: Links, tmp_path: Path
) -> None:
    found = links_statistics(written(tmp_path, breaks(links))).findings
    assert set(found) == {key}
    assert found[key]["count"] >= 1 if count is None else found[key]["count"] == count
    assert where in found[key]["examples"][0]
    assert len(found[key]["examples"]) <= 5
    (line,) = found.lines()
    assert FINDINGS[key] in line


def at(links: Links, *carriers: float) -> Links:
    """The same links traced at a carrier for each area: gains fall with it."""
    factor = 28e9 / np.array(carriers)[links.area[links.paths.link_of_path]]
    paths = replace(links.paths, gain=(links.paths.gain * factor).astype(np.complex64))
    return replace(links, paths=paths, radios=tuple(Radio(carrier=carrier) for carrier in carriers))


def test_free_space_is_that_of_each_areas_carrier(links: Links, tmp_path: Path) -> None:
    mixed = at(links, 28e9, 3.5e9, 60e9, 3.5e9)
    found = links_statistics(written(tmp_path / "mixed", mixed))
    assert not found.findings
    assert found.carriers == [3.5e9, 28e9, 60e9]
    said = [(one["areas"], one["radio"]["carrier"]) for one in found.as_json()["radios"]]
    assert said == [(2, 3.5e9), (1, 28e9), (1, 60e9)]
    silent = links_statistics(written(tmp_path / "silent", replace(mixed, radios=())))  # read as paper 1's
    assert set(silent.findings) == {"above_free_space"}
    loud = replace(mixed, radios=(mixed.radios[0], Radio(carrier=60e9), *mixed.radios[2:]))
    (example, *_) = links_statistics(written(tmp_path / "loud", loud)).findings["above_free_space"]["examples"]
    assert example.startswith("town/00001")


def test_an_area_has_one_radio(links: Links, tmp_path: Path) -> None:
    half = np.arange(48) % 2 == 0
    other = replace(links.select(~half), radios=(Radio(ULA(64)), *links.radios[1:]))
    found = links_statistics(written(tmp_path, links.select(half), other)).findings
    assert found["area_names"]["examples"] == ["town/00000"]


def test_bs_and_ue_in_buildings(links: Links, tmp_path: Path) -> None:
    maps = links.maps.copy()
    maps[2] = 1
    found = links_statistics(written(tmp_path, replace(links, maps=maps))).findings
    assert {key: entry["count"] for key, entry in found.items()} == {"bs_indoors": 12, "ue_indoors": 12}
    assert all(example.startswith("town/00002 link ") for example in found["ue_indoors"]["examples"])
    unknown = replace(links, maps=maps, mapped=np.zeros(4, dtype=bool))
    assert not links_statistics(written(tmp_path, unknown)).findings


def test_traced_links_are_above_suspicion(links: Links, other_links: Links, tmp_path: Path) -> None:
    assert not links_statistics(written(tmp_path, links, other_links)).findings


def test_a_los_flag_is_not_doubted_where_interactions_are_unknown(links: Links, tmp_path: Path) -> None:
    silent = replace(links.paths, interactions=np.full_like(links.paths.interactions, UNKNOWN))
    assert not links_statistics(written(tmp_path, replace(links, los=~links.los, paths=silent))).findings


def test_things_that_only_several_shards_show(links: Links, tmp_path: Path) -> None:
    twice = links_statistics(written(tmp_path / "twice", links, links))
    assert {key: entry["count"] for key, entry in twice.findings.items()} == {"twice": 48}
    assert twice.as_json()["areas"] == 4

    half = np.arange(48) % 2 == 0
    shared = links_statistics(written(tmp_path / "shared", links.select(half), links.select(~half)))
    assert not shared.findings, "a reader may spread an area over shards"
    assert (shared.as_json()["areas"], shared.links) == (4, 48)

    other = replace(links.select(half), sizes=links.sizes + 1)
    named = links_statistics(written(tmp_path / "named", other, links.select(~half)))
    assert {key: entry["count"] for key, entry in named.findings.items()} == {"area_names": 4}

    folder = written(tmp_path / "unlisted", links)
    shards.write_shard(folder / "links-00009.safetensors", links)
    assert links_statistics(folder).findings["unlisted"]["examples"] == ["links-00009.safetensors"]


def test_a_shard_of_areas_without_links(links: Links, tmp_path: Path) -> None:
    one = links.select(links.area == 0)
    none = {name: getattr(one, name)[:0] for name in ("area", "bs", "ue", "bearing", "los")}
    silent = replace(one, areas=("town/00009",), paths=one.paths.select(np.zeros(0, dtype=int)), **none)
    found = links_statistics(written(tmp_path, silent, one))
    assert found.findings["empty_areas"]["examples"] == ["town/00009"]
    assert (found.as_json()["areas"], found.links) == (2, 12)


def test_counts_that_disagree_with_the_manifest_are_refused(links: Links, tmp_path: Path) -> None:
    path = written(tmp_path, links) / "manifest.json"
    path.write_text(path.read_text().replace('"links": 48', '"links": 47'))
    with pytest.raises(InputError, match=r"holds 4 areas and 48 links, not 4 and 47"):
        links_statistics(tmp_path)
    with pytest.raises(InputError, match="no links"):
        links_statistics(written(tmp_path / "empty"))


def test_memory_is_that_of_a_shard(tmp_path: Path) -> None:
    peaks = []
    for count in (2, 30):
        folder = tmp_path / str(count)
        for i in range(count):
            shard = synthetic_links(i, links=3000, pixels=64, place=f"place{i % 5}-{i}")
            shards.write_shard(folder / f"links-{i:05d}.safetensors", shard)
        shards.write_manifest(folder, {}, "licence")
        tracemalloc.start()
        links_statistics(folder)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 24 * 28 * 3000, "8 bytes a link, and a copy while it grows"


def test_drives_are_counted(tmp_path: Path) -> None:
    make_gathered(tmp_path / "raw", seed=1)
    import_data("deepsense", tmp_path / "raw", tmp_path / "drives")
    found, truth = drives_statistics(tmp_path / "drives"), measure(1)
    values = found.as_json()
    assert values["samples"] == sum(found.steps) == 11, "the row without power is left out by the reader"
    assert values["drives"] == 2
    assert values["scenarios"]["scenario1"]["lost"] == 0
    assert values["scenarios"]["scenario1"]["located"] == 10
    assert values["best_beams"]["64"] == np.bincount(truth.beam[truth.beam >= 0], minlength=64).tolist()
    assert not found.findings
    power, measured = found.power[64]
    for step in np.flatnonzero(truth.beam >= 0)[:3]:
        best = truth.beam[step]
        relative = truth.power[step] / np.nanmax(truth.power[step])
        assert power[best] / np.maximum(measured[best], 1) == pytest.approx(np.nan_to_num(relative), abs=1e-6)


def test_suspicious_and_damaged_drives(tmp_path: Path) -> None:
    make_gathered(tmp_path / "raw", seed=1)
    import_data("deepsense", tmp_path / "raw", tmp_path / "drives")
    path = tmp_path / "drives" / "drives-scenario1.safetensors"
    drives = read_drives(path)
    far = replace(drives[0], ue=drives[0].ue + 1, name="scenario1/9")
    gone: Drive = replace(drives[1], files={"camera": ("a.jpg",) * len(drives[1])}, root=tmp_path / "gone")
    write_drives(tmp_path / "odd" / "far.safetensors", [drives[0], drives[0], far])
    write_drives(tmp_path / "odd" / "gone.safetensors", [gone])
    found = drives_statistics(tmp_path / "odd").findings
    assert {key: entry["count"] for key, entry in found.items()} == {"drive_names": 1, "far_ue": 6, "no_sensors": 1}
    assert found["far_ue"]["examples"][0] == "scenario1/9 step 0"

    power, beam = drives[0].power.copy(), drives[0].beam.copy()
    power[2], beam[2] = np.nan, -1
    write_drives(tmp_path / "lost.safetensors", [replace(drives[0], power=power, beam=beam)])
    lost = drives_statistics(tmp_path / "lost.safetensors")
    assert lost.scenarios["scenario1"].lost == 1
    assert lost.beams[64].sum() == 5

    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="checksum"):
        drives_statistics(tmp_path / "drives")
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        drives_statistics(tmp_path / "drives")
    manifest = tmp_path / "drives" / "manifest.json"
    manifest.write_text(json.dumps({"format": "other/1", "files": []}))
    with pytest.raises(InputError, match="format 'other/1'"):
        drives_statistics(tmp_path / "drives")
