"""A folder of links that is opened, not read."""

from __future__ import annotations

import json
import pickle
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.data.synthetic import assert_same, synthetic_links
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.data.links.loader import AreaBatches
from uniair.data.links.store import Store, Stores
from uniair.errors import InputError
from uniair.radio import SPEED_OF_LIGHT, ULA, Radio


def folder(path: Path, parts: list[Links]) -> Path:
    for i, part in enumerate(parts):
        shards.write_shard(path / f"links-{i:05d}.safetensors", part)
    shards.write_manifest(path, {}, "")
    return path


def test_a_store_is_the_areas_of_the_folder(tmp_path: Path) -> None:
    parts = [synthetic_links(s, areas=4, links=30, place=f"town{s}") for s in range(3)]
    parts[1] = replace(parts[1], mapped=np.array([True, False, True, True]))
    store = Store(folder(tmp_path, parts))
    areas = Links.concatenate(parts).split()
    assert len(store) == len(areas)
    assert store.links == 90
    assert store.counts.tolist() == [len(a) for a in areas]
    assert store.places == ("town0", "town1", "town2")
    for one, two in zip(store, areas, strict=True):
        assert_same(one, two)
    assert [a.areas for a in store[2:4]] == [a.areas for a in areas[2:4]]
    assert len(store.first(2)) == 2
    with pytest.raises(InputError, match="give at least 1"):
        store.first(-1)
    assert store.los_share() == pytest.approx(np.concatenate([a.los for a in areas]).mean())


@pytest.mark.parametrize("heights", [False, True])
def test_how_densely_and_high_areas_are_built(tmp_path: Path, heights: bool) -> None:
    parts = [synthetic_links(s, areas=3, links=12, place=f"town{s}") for s in range(2)]
    parts[1] = replace(parts[1], mapped=np.array([True, False, True]))
    if heights:
        parts = [replace(p, maps=np.float32(p.maps) * np.float32([[[3.0]], [[7.0]], [[12.0]]])) for p in parts]
    areas = [(maps, known) for part in parts for maps, known in zip(part.maps, part.mapped, strict=True) if known]
    shares = [float((maps > 0).mean()) for maps, _ in areas]
    medians = [float(np.median(maps[maps > 0])) for maps, _ in areas if heights and (maps > 0).any()]
    found = Store(folder(tmp_path, parts)).clutter()
    np.testing.assert_allclose(found[0], [min(shares), max(shares)])
    np.testing.assert_allclose(found[1], [min(medians), max(medians)] if heights else [np.nan, np.nan], rtol=1e-6)
    np.testing.assert_allclose(Store(tmp_path).first(1).clutter()[0], [shares[0]] * 2)


def test_losses_are_told_as_lengths_of_free_space(tmp_path: Path) -> None:
    links = synthetic_links(0, areas=3, links=12)
    carriers = (28e9, 3.5e9, 60e9)
    links = replace(links, radios=tuple(Radio(carrier=carrier) for carrier in carriers))
    owned = links.paths.link_of_path
    power = np.array([np.square(np.abs(links.paths.gain[owned == i])).sum() for i in range(len(links))])
    want = SPEED_OF_LIGHT / np.array(carriers)[links.area] / (4 * np.pi * np.sqrt(power))
    store = Store(folder(tmp_path, [links]))
    np.testing.assert_allclose(store.losses(), want, rtol=1e-6)
    np.testing.assert_allclose(Stores([store, store.first(1)]).losses(), [*want, *want[: store.counts[0]]], rtol=1e-6)


def test_batches_from_disk_are_those_from_memory(tmp_path: Path, links: Links) -> None:
    store = Store(folder(tmp_path, [links]))
    for seed in range(3):
        one = AreaBatches(store, 3, 6)(np.random.default_rng(seed))
        two = AreaBatches(links.split(), 3, 6)(np.random.default_rng(seed))
        assert one.csi.equal(two.csi)
        assert one.environment.map.equal(two.environment.map)
        assert one.environment.ue.equal(two.environment.ue)


def test_opening_reads_an_index_alone(tmp_path: Path) -> None:
    parts = [synthetic_links(s, areas=20, links=2000, pixels=256, place=f"town{s}") for s in range(30)]
    path = folder(tmp_path, parts)
    size = sum(f.stat().st_size for f in path.iterdir())
    tracemalloc.start()
    start = time.perf_counter()
    store = Store(path)
    took, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    for i in range(0, len(store), 60):
        store[i]
    _, read = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 1.0
    assert peak < size / 5
    assert read < size / 5


def test_damage_is_found_when_it_matters(tmp_path: Path) -> None:
    path = folder(tmp_path, [synthetic_links(0, links=20), synthetic_links(1, links=20, place="other")])
    second = path / "links-00001.safetensors"
    whole = second.read_bytes()
    second.write_bytes(whole[:-3] + b"xyz")
    store = Store(path)
    store[0]
    with pytest.raises(InputError, match=r"links-00001.safetensors: checksum does not match"):
        store[len(store) - 1]
    second.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"links-00001.safetensors: truncated"):
        Store(path)
    second.unlink()
    with pytest.raises(InputError, match="no such file"):
        Store(path)


def test_an_area_that_goes_on_in_the_next_shard_is_one(tmp_path: Path) -> None:
    links = synthetic_links(areas=3, links=40).merged()
    cuts = np.array_split(np.arange(40), 5)  # shorter than an area, so that one is spread over several shards
    store = Store(folder(tmp_path, [links.select(cut) for cut in cuts]))
    assert store.areas == links.areas
    assert store.counts.tolist() == np.bincount(links.area).tolist()
    for one, two in zip(store, links.split(), strict=True):
        assert_same(one, two)
    assert_same(store[-1], store[2])
    assert_same(store.first(2)[1], store[1])
    assert store.first(1).los_share() == pytest.approx(store[0].los.mean())
    with pytest.raises(IndexError):
        store.first(2)[2]


def test_a_store_goes_to_another_process(tmp_path: Path) -> None:
    store = Store(folder(tmp_path, [synthetic_links(areas=4, links=40)])).first(2)
    again = pickle.loads(pickle.dumps(store))
    assert again.areas == store.areas
    assert_same(again[1], store[1])


def test_a_manifest_or_shard_that_miscounts_is_refused(tmp_path: Path) -> None:
    links = synthetic_links(links=20)
    path = folder(tmp_path, [replace(links, area=links.area + np.int32(1))])
    with pytest.raises(InputError, match="not all there"):
        Store(path)
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["shards"][0]["links"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="not all there"):
        Store(path)


def test_unsorted_links_are_refused(tmp_path: Path) -> None:
    links = synthetic_links(links=20)
    mixed = replace(links, area=np.roll(links.area, 3))
    with pytest.raises(InputError, match="not sorted by area"):
        Store(folder(tmp_path, [mixed]))
    assert_same(Store(folder(tmp_path, [mixed.merged()]))[0], mixed.merged().split()[0])


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"format": shards.FORMAT, "shards": []}))
    with pytest.raises(InputError, match="has no links"):
        Store(tmp_path)


def test_areas_of_one_name_become_one() -> None:
    links = synthetic_links(links=20)
    twice = Links.concatenate([links.select(np.arange(20) % 2 == k) for k in (0, 1)])
    one = twice.merged()
    assert sorted(one.areas) == sorted(links.areas)
    assert len(one) == 20
    assert (np.diff(one.area) >= 0).all()
    assert one.validate("merged").paths.power().sum() == pytest.approx(links.paths.power().sum())
    with pytest.raises(InputError, match="different sizes"):
        Links.concatenate([links, replace(links, sizes=links.sizes + 1)]).merged()


def test_a_store_knows_the_radios_of_its_areas(tmp_path: Path) -> None:
    low, wide = Radio(carrier=3.5e9), Radio(ULA(64))
    parts = [synthetic_links(s, areas=3, links=30, place=f"town{s}") for s in range(3)]
    parts[1] = replace(parts[1], radios=(low, Radio(), low))
    parts[2] = replace(parts[2], radios=(wide,) * 3)
    store = Store(folder(tmp_path, parts))
    assert store.radios == (Radio(), low, wide)
    assert store.first(3).radios == (Radio(),)
    assert store.first(3).one_radio() == Radio()
    assert pickle.loads(pickle.dumps(store)).radios == store.radios
    assert [area.one_radio() for area in store[3:7]] == [low, Radio(), low, wide]
    with pytest.raises(InputError, match="links of 3 radios"):
        store.one_radio()


@pytest.mark.parametrize("harm", [{"radio": [0]}, {"radio": [9, 0, 0]}, {"radio": None}, {"radios": [{"format": "2"}]}])
def test_radios_that_a_shard_garbles_are_one_line(tmp_path: Path, harm: dict[str, Any]) -> None:
    links = synthetic_links(areas=3, links=30)
    path = folder(tmp_path, [replace(links, radios=(Radio(carrier=3.5e9),) * 3)]) / "links-00000.safetensors"
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["uniair"]) | harm
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    save_file(tensors, path, metadata={"uniair": json.dumps(header)})
    for read in (Store, shards.read_shard):
        with pytest.raises(InputError, match="links-00000") as error:
            read(tmp_path if read is Store else path)
        assert "\n" not in str(error.value)
