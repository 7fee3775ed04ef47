"""Tables of measurements: every format gives the same, what they teach, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.site.make import station_links, town
from uniair.area.georeference import Georeference
from uniair.area.raster import occupancy
from uniair.data.links.loader import batch_of
from uniair.environment import Batch, Environment
from uniair.errors import InputError
from uniair.radio import ULA, Radio
from uniair.site.frame import stand_ins
from uniair.site.measured import Measured, read_measured
from uniair.site.site import Station
from uniair.tasks.registry import TASKS

NAMES = ("bs0", "bs1")
CORNER = (1000.0, 2000.0)


def table(n: int = 12, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "x": CORNER[0] + rng.uniform(0, 150, n), "y": CORNER[1] + rng.uniform(0, 150, n), "z": np.full(n, 1.8),
        "station": np.array(["bs0", "bs1"] * (n // 2)), "los": rng.integers(0, 2, n), "beam": rng.integers(0, 32, n),
        "path_loss_db": rng.uniform(60, 140, n),
    }  # fmt: skip


def channels(n: int = 12) -> Any:
    rng = np.random.default_rng(1)
    return (rng.normal(size=(n, 32, 64)) + 1j * rng.normal(size=(n, 32, 64))) * 1e-30


def write_csv(path: Path, columns: dict[str, Any]) -> Path:
    rows = zip(*(np.asarray(values).tolist() for values in columns.values()), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def read(path: Path, names: tuple[str, ...] = NAMES) -> Measured:
    return read_measured(path, town(), names, None, CORNER)


def test_every_format_gives_the_same(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns, csi = table(), channels()
    columns["beam"] = TASKS["beam"].target(Batch(torch.from_numpy(csi), Environment())).numpy()
    np.savez(tmp_path / "drive.npz", csi=csi, **columns)
    (tmp_path / "folder").mkdir()
    for name, values in (columns | {"csi": csi}).items():
        np.save(tmp_path / "folder" / f"{name}.npy", values)
    write_csv(tmp_path / "drive.csv", columns)
    np.save(tmp_path / "drive.csi.npy", csi)
    parquet.write_table(pyarrow.table(columns), tmp_path / "drive.parquet")
    found = [read(tmp_path / name) for name in ("drive.npz", "folder", "drive.csv", "drive.parquet")]
    for one in found:
        assert np.allclose(one.ue[:, :2], np.column_stack([columns["x"], columns["y"]]) - CORNER)
        assert (one.ue[:, 2] == 1.8).all()
        assert one.station.tolist() == [0, 1] * 6
        assert one.labels["beam"].tolist() == columns["beam"].tolist()
        assert np.allclose(np.abs(one.labels["csi"]).max((1, 2)), 1)
        assert one.labels.keys() == found[0].labels.keys()
    assert len(found[0].of(1)) == 6


def test_longitude_and_latitude(tmp_path: Path) -> None:
    place = Georeference(13.35, 52.51, (-75.0, -75.0))
    metres = np.array([[10.0, 20.0], [140.0, 5.0]])
    lon, lat = place.to_degrees(metres).T
    path = write_csv(tmp_path / "drive.csv", {"lon": lon, "lat": lat, "beam": [0, 31]})
    found = read_measured(path, town(), ("bs0",), place, CORNER)
    assert np.allclose(found.ue, np.column_stack([metres, [1.5, 1.5]]), atol=1e-6)
    assert found.pairs() == {("beam", "environment")}


def test_labels_are_read_back_from_what_stands_in_for_a_channel(tmp_path: Path) -> None:
    columns = table()
    path, station = write_csv(tmp_path / "drive.csv", columns), Station("bs0", (30.0, 75.0, 6.0), 0.4)
    found = read(path)
    batch = found.fill(batch_of(stand_ins(town(), station, found.ue, occupancy(town()), Radio())))
    assert TASKS["beam"].target(batch).tolist() == columns["beam"].tolist()
    assert np.allclose(TASKS["path_loss"].target(batch)[:, 0], columns["path_loss_db"], atol=1e-3)
    assert TASKS["los"].target(batch).tolist() == columns["los"].tolist()
    assert found.pairs() == {("los", "environment"), ("beam", "environment"), ("path_loss", "environment")}
    last = found.fill(batch_of(stand_ins(town(), station, found.ue, occupancy(town()), Radio())), last="beam")
    assert TASKS["beam"].target(last).tolist() == columns["beam"].tolist()


def test_measured_channels_teach_every_head(tmp_path: Path) -> None:
    links = station_links(town(), Station("bs0", (30.0, 75.0, 6.0)), users=10)
    csi = batch_of(links).csi
    np.savez(tmp_path / "d.npz", x=links.ue[:, 0], y=links.ue[:, 1], los=links.los, csi=csi.numpy() * 1e-6,
             path_loss_db=np.full(10, 90.0))  # fmt: skip
    found = read_measured(tmp_path / "d.npz", town(), ("bs0",), None, (0.0, 0.0))
    assert {task for task, _ in found.pairs()} == set(TASKS)
    batch = found.fill(
        batch_of(stand_ins(town(), Station("bs0", (30.0, 75.0, 6.0)), found.ue, occupancy(town()), Radio()))
    )
    assert torch.equal(TASKS["beam"].target(batch), TASKS["beam"].target(batch_of(links)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"beam": [0] * 11 + [32]}, "row 12; give whole numbers, 0 to 31"),
        ({"los": [0.5] * 12}, "give whole numbers, 0 to 1"),
        ({"path_loss_db": [np.nan] * 12}, "NaN or infinite in row 1"),
        ({"path_loss_db": ["loud"] * 12}, "not a number"),
        ({"x": [0.0] * 12}, "lies off the site"),
        ({"station": ["mast"] * 12}, "no station 'mast'; the site has bs0, bs1"),
        ({"path_los": [1] * 12, "path_loss_db": None}, "unknown column path_los; is it path_loss_db"),
        ({"x": None}, "no column x"),
        ({"station": None}, "no column station"),
        ({"los": None, "beam": None, "path_loss_db": None}, "nothing was measured"),
    ],
)
def test_bad_tables_are_one_line(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    columns = {name: values for name, values in (table() | change).items() if values is not None}
    with pytest.raises(InputError, match=says) as caught:
        read(write_csv(tmp_path / "drive.csv", columns))
    assert len(str(caught.value).splitlines()) == 1
    assert "drive.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.csv", None, "no such file"),
        ("drive.xlsx", b"", "use .npz, .csv, .parquet"),
        ("drive.npz", b"PK\x03\x04half", "can't be read"),
        ("drive.npz", b"", "can't be read"),
        ("drive.parquet", b"PAR1", "can't be read"),
        ("drive.csv", b"\xff\xfe\x00", "can't be read"),
        ("drive.csv", b"x,y,beam\n", "of different lengths, or empty"),
    ],
)
def test_bad_files_are_one_line(name: str, content: bytes | None, says: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        read(tmp_path / name)


def test_bad_channels_are_one_line(tmp_path: Path) -> None:
    for csi, says in ((channels()[:, :8], r"csi is complex \[N, 8, 64\], this site's radio has complex \[N, 32, 64\]"),
                      (channels().real, "csi of type float64 is not complex"),
                      (channels()[:, 0], r"csi is complex \[N, 64\]"),
                      (channels() * 0, "all zero"), (channels()[:3], "different lengths")):  # fmt: skip
        np.savez(tmp_path / "drive.npz", csi=csi, **{k: v for k, v in table().items() if k != "beam"})
        with pytest.raises(InputError, match=says):
            read(tmp_path / "drive.npz")


def test_what_was_measured_is_of_the_sites_radio(tmp_path: Path) -> None:
    radio, rows, csi = Radio(ULA(16)), table(), channels()[:, :16]
    rows["beam"] = TASKS["beam"].on(radio).target(Batch(torch.from_numpy(csi), Environment(), radio)).numpy()

    def of_radio(path: Path) -> Measured:
        return read_measured(path, town(), NAMES, None, CORNER, radio)

    np.savez(tmp_path / "drive.npz", csi=csi, **rows)
    found = of_radio(tmp_path / "drive.npz")
    assert found.labels["csi"].shape == (12, 16, 64)
    assert np.abs(found.labels["csi"]).max() == pytest.approx(1)
    radio = Radio(ULA(16), calibrated=True)
    np.testing.assert_allclose(of_radio(tmp_path / "drive.npz").labels["csi"], csi.astype(np.complex64))
    station = Station("bs0", (30.0, 75.0, 6.0))
    links = stand_ins(town(), station, found.ue, occupancy(town()), radio)
    del found.labels["csi"]
    batch = found.fill(batch_of(links))
    assert TASKS["beam"].target(batch).tolist() == found.labels["beam"].tolist()
    with pytest.raises(InputError, match=r"complex \[N, 16, 64\], this site's radio has complex \[N, 32, 64\]"):
        read(tmp_path / "drive.npz")
    rows["beam"][3] = 16
    np.savez(tmp_path / "drive.npz", csi=csi, **rows)
    with pytest.raises(InputError, match="column beam is 16 in row 4; give whole numbers, 0 to 15"):
        of_radio(tmp_path / "drive.npz")
