"""Tables as programs write them: read as they are meant, or refused in one line; nothing is guessed in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.site.make import town
from uniair.commands.site import named
from uniair.errors import InputError
from uniair.radio import ULA
from uniair.site.measured import Measured, Terms, read_measured

RNG = np.random.default_rng(0)
PLAN = RNG.uniform(1, 149, (60, 2)).round(2)
BEAMS = RNG.integers(0, 31, 60)


def rows(*columns: Any) -> list[list[str]]:
    return [[str(value) for value in row] for row in zip(*PLAN.T.tolist(), *columns, strict=True)]


def write(path: Path, header: str, cells: list[list[str]], mark: str = ",", encoding: str = "utf-8-sig") -> Path:
    path.write_text("\n".join([header, *(mark.join(row) for row in cells)]) + "\n", encoding=encoding)
    return path


def read(path: Path, names: tuple[str, ...] = ("bs0",), **terms: Any) -> Measured:
    return read_measured(path, town(), names, None, (0.0, 0.0), terms=Terms(**terms))


def with_commas(cells: list[list[str]], quote: str = "") -> list[list[str]]:
    return [[quote + cell.replace(".", ",") + quote for cell in row] for row in cells]


LOSS = [90.5 + i for i in range(60)]
ANY = rows(LOSS)


@pytest.mark.parametrize(
    ("header", "cells", "mark", "encoding"),
    [
        ("x;y;path_loss_db", ANY, ";", "utf-8-sig"),
        ("x;y;path_loss_db", with_commas(ANY), ";", "utf-8"),
        ("x,y,path_loss_db", with_commas(ANY, '"'), ",", "utf-8"),
        ("x\ty\tpath_loss_db", with_commas(ANY), "\t", "utf-16"),  # Excel's Unicode text
        ("sep=|\nx|y|path_loss_db", ANY, "|", "utf-8"),
        ("X, Y ,Path_Loss_dB", ANY, ",", "utf-8"),
        ("x,y,path_loss_db,", [[*row, ""] for row in ANY], ",", "utf-8"),
        ("x,y,path_loss_db", [["", ""], *ANY, [" "]], ",", "utf-8"),
        (",x,y,path_loss_db", [[str(i), *row] for i, row in enumerate(ANY)], ",", "utf-8"),
        ("Unnamed: 0,x,y,path_loss_db,place", [[str(i), *row, "Köln"] for i, row in enumerate(ANY)], ",", "cp1252"),
        ("x,y,path_loss_db", [[*row[:2], row[2] + " dB"] for row in ANY], ",", "utf-8"),
        ("time,easting,northing,path_loss_db", [["2024-05-01 10:00:00,5".replace(",", "."), *row] for row in ANY], ",",
         "utf-8"),
    ],
)  # fmt: skip
def test_every_writer_means_the_same(
    header: str, cells: list[list[str]], mark: str, encoding: str, tmp_path: Path
) -> None:
    found = read(write(tmp_path / "drive.csv", header, cells, mark, encoding))
    np.testing.assert_allclose(found.ue[:, :2], PLAN)
    np.testing.assert_allclose(found.labels["path_loss_db"], LOSS)


def test_yes_and_no(tmp_path: Path) -> None:
    for yes, no in (("True", "False"), ("TRUE", "FALSE"), ("yes", "no"), ("LOS", "NLOS"), ("1", "0"), ("1.0", "0.0")):
        said = [yes if i % 3 else no for i in range(60)]
        found = read(write(tmp_path / "drive.csv", "x,y,los", rows(said)))
        assert found.labels["los"].tolist() == [int(i % 3 > 0) for i in range(60)]


def test_thousands_are_told_from_decimals(tmp_path: Path) -> None:
    english = read(write(tmp_path / "a.csv", "x,y,z,path_loss_db",
                         [[*row[:2], "1.5", row[2]] for row in ANY] ))  # fmt: skip
    assert (english.ue[:, 2] == 1.5).all()
    cells = [['"1,234.5"', "2", "90"], ['"1,250"', "3", "91"]]
    path = write(tmp_path / "b.csv", "x,y,path_loss_db", cells)
    found = read_measured(path, town(), ("bs0",), None, (1150.0, 0.0))
    np.testing.assert_allclose(found.ue[:, 0], [84.5, 100])
    for cells, mark, says in (
        ([['"1,250"', "3", "91"]], ",", "thousands or decimals"),
        ([["1.250", "3", "91,5"]], ";", "thousands or decimals"),
        ([["1,5", "3", "91"], ["1,234.5", "3", "91"]], ";", "thousands or decimals"),
        ([["1,5", "3", "91"]], ",", "row 1 has 4 cells, the header 3"),
    ):
        with pytest.raises(InputError, match=says):
            read(write(tmp_path / "c.csv", mark.join(["x", "y", "path_loss_db"]), cells, mark))


def test_received_power_becomes_a_path_loss(tmp_path: Path) -> None:
    path = write(tmp_path / "drive.csv", "x,y,SS-RSRP,SINR", rows([-80.0 - i % 9 for i in range(60)], [7] * 60))
    found = read(path, transmit_power=15.0)
    np.testing.assert_allclose(found.labels["path_loss_db"], [95.0 + i % 9 for i in range(60)])
    assert "15 dBm" in found.remarks[1]
    assert "not read: SINR" in found.remarks[0]
    with pytest.raises(InputError, match="--transmit_power"):
        read(path)
    other = write(tmp_path / "tool.csv", "x,y,Rx (best)", rows([-80.0] * 60))
    assert len(read(other, columns={"rsrp": "rx (best)"}, transmit_power=15.0).labels["path_loss_db"]) == 60
    with pytest.raises(InputError, match=r"nothing was measured.*not read: Rx \(best\)"):
        read(other)
    with pytest.raises(InputError, match="no column power"):
        read(other, columns={"rsrp": "power"})


@pytest.mark.parametrize(
    ("header", "column", "says"),
    [
        ("path_loss_db", [-95.0] * 60, "a gain or a received power"),
        ("path_loss_db", [90.0] * 59 + [-90.0], "in row 60, a gain"),
        ("path_loss_db", [1e5] * 60, "give dB, 10 to 250"),
        ("path_loss_db", [1e-9] * 60, "give dB, 10 to 250"),
        ("rsrp", [76] * 60, "no reported indices"),
        ("rsrp", [-90.0] * 59 + [-999.0], "row 60"),
        ("los", [-1] * 60, "0 to 1"),
        ("beam", list(range(1, 33)) + [1] * 28, "say --first_beam 1"),
        ("beam", (BEAMS + 1).tolist(), "--first_beam 0 or --first_beam 1"),
    ],
)
def test_what_can_not_be_is_refused(header: str, column: list[Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read(write(tmp_path / "drive.csv", f"x,y,{header}", rows(column)), transmit_power=15.0)
    assert len(str(caught.value).splitlines()) == 1


def test_beams_that_count_from_one(tmp_path: Path) -> None:
    path = write(tmp_path / "drive.csv", "x,y,beam", rows((BEAMS + 1).tolist()))
    assert read(path, first_beam=1).labels["beam"].tolist() == BEAMS.tolist()
    assert read(path, first_beam=0).labels["beam"].tolist() == (BEAMS + 1).tolist()
    csi = np.repeat(ULA(32).dft_codebook().numpy()[BEAMS][:, :, None], 64, 2)
    np.save(tmp_path / "drive.csi.npy", csi)
    with pytest.raises(InputError, match="counts from 1: it is one above what csi says in 100%"):
        read(path)
    assert not [line for line in read(path, first_beam=1).remarks if "csi" in line]
    np.save(tmp_path / "drive.csi.npy", csi[::-1])  # another order of rows
    with pytest.raises(InputError, match=r"where csi says \d+, and differs in"):
        read(path, first_beam=1)


def test_rows_outside_are_counted(tmp_path: Path) -> None:
    cells = rows(LOSS)
    cells[0][0], cells[7][1] = "-300", "1e4"
    np.save(tmp_path / "drive.csi.npy", torch.randn(60, 32, 64, dtype=torch.complex64).numpy())
    found = read(write(tmp_path / "drive.csv", "x,y,path_loss_db", cells))
    assert len(found) == len(found.labels["csi"]) == 58
    assert found.remarks[0] == "drive.csv: 2 of 60 rows outside the square of 150 m: left out"
    with pytest.raises(InputError, match="as all do"):
        read_measured(tmp_path / "drive.csv", town(), ("bs0",), None, (1e5, 0.0))


def test_users_inside_buildings_are_said(tmp_path: Path) -> None:
    inside = town().footprints[0].representative_point()
    found = read(write(tmp_path / "drive.csv", "x,y,los", [[f"{inside.x}", f"{inside.y}", "1"]]))
    assert "1 of 1 rows stand inside buildings" in found.remarks[0]


def test_cells_are_no_stations(tmp_path: Path) -> None:
    two = ("bs0", "bs1")
    cells = [301 if i % 3 else 17 for i in range(60)]
    path = write(tmp_path / "drive.csv", "x,y,pci,path_loss_db", rows(cells, LOSS))
    with pytest.raises(InputError, match="column pci holds 2 cells"):
        read(path)
    with pytest.raises(InputError, match=r"no column station.*--columns station=pci"):
        read(path, two)
    with pytest.raises(InputError, match=r"no station '17'.*are these cells"):
        read(path, two, columns={"station": "pci"})
    found = read(path, two, columns={"station": "pci"}, cells={"301": "bs1"})
    assert found.station.tolist() == [1] * 40
    assert "20 of 60 rows of other cells: left out" in found.remarks[0]
    for numbers, says in (([1, 2], r"count from 0"), ([1, 1], "cells\\? write names")):
        with pytest.raises(InputError, match=says):
            read(write(tmp_path / "b.csv", "x,y,station,los", rows(numbers * 30, [1] * 60)), two)
    assert read(write(tmp_path / "c.csv", "x,y,station,los", rows(["0", "bs1"] * 30, [1] * 60)), two).station[1] == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,2,90\n3,4,91\n", "first line is numbers"),
        ("x,y,los,los\n1,2,1,1\n", "two columns los"),
        ("x,y,lon,easting,los\n1,2,3,4,1\n", "columns x and easting are both x"),
        ("x,y,path_lossdb\n1,2,90\n", "is it path_loss_db"),
        ("x,y,los\n1,2,#N/A\n", "NaN or infinite in row 1"),
        ("", "nothing was measured"),
    ],
)
def test_a_muddle_is_one_line(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "drive.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        read(tmp_path / "drive.csv")


def test_axes_of_the_channel_beside_a_table(tmp_path: Path) -> None:
    path = write(tmp_path / "drive.csv", "x,y", rows())
    csi = torch.randn(60, 32, 64, dtype=torch.complex64).numpy()
    two = np.stack([0.1 * csi, csi], 1)  # [users, rx, tx, subcarriers]
    np.savez(tmp_path / "drive.csi.npz", csi=two.transpose(0, 3, 2, 1))
    found = read(path, axes=("users", "subcarriers", "tx", "rx")).labels["csi"]
    np.testing.assert_allclose(found, csi / np.abs(csi).max((1, 2), keepdims=True), rtol=1e-6)
    np.savez(tmp_path / "drive.csi.npz", csi=csi.transpose(0, 2, 1))
    with pytest.raises(InputError, match="--axes users,subcarriers,tx"):
        read(path)


def test_options_are_pairs() -> None:
    assert named("--columns", ["rsrp=SS-RSRP (dBm)", "x=East,y=North"]) == {
        "rsrp": "SS-RSRP (dBm)", "x": "East", "y": "North",
    }  # fmt: skip
    for bad in ("rsrp", "=a", "a=", "a=b,a=c"):
        with pytest.raises(InputError, match="each name once"):
            named("--columns", [bad])
    with pytest.raises(InputError, match="no such column"):
        Terms(columns={"loudness": "a"})
