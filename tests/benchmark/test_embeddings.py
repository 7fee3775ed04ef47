"""Files of other models' embeddings: their order, and one line for each way to be wrong."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links

from uniair.benchmark import embeddings, fewshot
from uniair.benchmark.embeddings import export_csi, read_embeddings
from uniair.cli import main
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.data.links.store import SAMPLE, Store
from uniair.errors import InputError
from uniair.radio import OFDM, UPA, Radio


@pytest.fixture
def store(tmp_path: Path) -> Store:
    shards.write_shard(tmp_path / "links/links-00000.safetensors", geometric_links(seed=3, areas=3, per_area=20))
    shards.write_manifest(tmp_path / "links", {}, "")
    return Store(tmp_path / "links")


def test_exported_csi_is_the_benchmarks_in_its_order(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "CHUNK", 7)
    assert export_csi(store, tmp_path / "csi.npy") == (60, 32, 64)
    found = np.load(tmp_path / "csi.npy", allow_pickle=False)
    assert found.dtype == np.complex64
    want = torch.cat([batch_of(links).csi for links in store]).numpy()
    np.testing.assert_allclose(found, want, atol=1e-5 * np.abs(want).max())
    export_csi(store, tmp_path / "turned.npy", bearing=np.pi)
    turned = np.load(tmp_path / "turned.npy")
    np.testing.assert_allclose(np.abs(turned[:, 0]), np.abs(found[:, 0]), rtol=1e-3)  # antenna 0 stays where it is
    assert not np.allclose(turned[:, 1], found[:, 1])
    with pytest.raises(InputError, match=r"\.npy"):
        export_csi(store, tmp_path / "csi.bin")


def test_the_exported_csi_is_that_of_the_links_own_radio(store: Store, tmp_path: Path) -> None:
    small = Radio(UPA(2, 4), OFDM(16, 240e3), 3.5e9)
    first, *others = store
    seen = [replace(links, radios=(small,)) for links in store]
    shards.write_shard(tmp_path / "small/links-00000.safetensors", Links.concatenate(seen))
    shards.write_manifest(tmp_path / "small", {}, "")
    assert export_csi(Store(tmp_path / "small"), tmp_path / "csi.npy") == (60, 8, 16)
    want = first.paths.csi(small, first.bearing).numpy()
    np.testing.assert_array_equal(np.load(tmp_path / "csi.npy")[: len(want)], want)
    shards.write_shard(tmp_path / "small/links-00000.safetensors", Links.concatenate([seen[0], *others]))
    shards.write_manifest(tmp_path / "small", {}, "")
    with pytest.raises(InputError, match="links of 2 radios"):
        export_csi(Store(tmp_path / "small"), tmp_path / "mixed.npy")
    assert not (tmp_path / "mixed.npy").exists()


def test_rows_come_back_area_by_area(store: Store, tmp_path: Path) -> None:
    rows = np.arange(60 * 5, dtype=np.float64).reshape(60, 5)
    np.save(tmp_path / "z.npy", rows)
    areas = read_embeddings(tmp_path / "z.npy", store)
    assert [len(area) for area in areas] == store.counts.tolist()
    assert torch.equal(torch.cat(areas), torch.from_numpy(rows).float())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "no such file"),
        (lambda path: np.save(path, np.zeros((59, 5))), "59 rows, expected float .60, width"),
        (lambda path: np.save(path, np.zeros(60)), r"\[60\], expected"),
        (lambda path: np.save(path, np.zeros((60, 0))), r"\[60, 0\]"),
        (lambda path: np.save(path, np.zeros((60, 5), dtype=np.complex64)), "complex64"),
        (lambda path: np.save(path, np.full((60, 5), np.nan)), "NaN or infinite values in row 0"),
        (lambda path: np.save(path, np.array([{}] * 60), allow_pickle=True), "plain numbers"),
        (lambda path: path.write_bytes(b"nothing"), "plain numbers"),
        (lambda path: path.write_bytes(b""), "plain numbers"),
        (lambda path: path.mkdir(), "plain numbers"),
    ],
)
def test_bad_files_are_refused_in_one_line(store: Store, tmp_path: Path, make: object, says: str) -> None:
    path = tmp_path / "z.npy"
    make(path)  # type: ignore[operator]
    with pytest.raises(InputError, match=says) as error:
        read_embeddings(path, store)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_truncated_file_is_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "z.npy"
    np.save(path, np.zeros((60, 5)))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="plain numbers"):
        read_embeddings(path, store)


def test_the_command_writes_the_csi_at_the_bearing_that_the_protocol_asks_for(tmp_path: Path) -> None:
    out = tmp_path / "csi.npy"
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (degrees,) = re.findall(r"--bearing (-?\d+)", readme)
    assert math.radians(float(degrees)) == pytest.approx(fewshot.BEARING)
    assert main(["data", "csi", str(SAMPLE), "--out", str(out), "--bearing", degrees]) == 0
    export_csi(Store(SAMPLE), tmp_path / "same.npy", fewshot.BEARING)
    assert np.array_equal(np.load(out), np.load(tmp_path / "same.npy"))
    assert main(["data", "csi", str(SAMPLE)]) == 2
