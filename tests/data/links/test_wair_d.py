"""WAIR-D as published: geometry, gains and maps come out as they went in; damage is refused in one line."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from tests.data.links.wair_d.make import Truth, make, make_area, save_dict
from uniair.data.import_report import ImportReport
from uniair.data.links import wair_d
from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.propagation.paths import LOS, UNKNOWN
from uniair.radio import UPA, Radio


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Truth]]:
    root = tmp_path_factory.mktemp("wair_d")
    return root, make(root, seed=0)


@pytest.fixture
def area(tmp_path: Path) -> Path:
    """A small area of scenario 2, to be damaged."""
    return make_area(tmp_path / "00000", np.random.default_rng(5), 2, 6, north_up=True, style=1).folder


def one(folder: Path, **options: Any) -> Links:
    (links,) = wair_d.read(folder, ImportReport(), **options)
    return links


def raw(path: Path) -> dict[str, Any]:
    """What the public instructions say to do with a file that one trusts."""
    return dict(np.load(path, allow_pickle=True, encoding="latin1").item())


def with_a_path(truth: Truth) -> list[str]:
    entries = raw(truth.folder / "Path.npy")
    return [key for key in truth.keys if key in entries and entries[key]["taud"].size]


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        list(wair_d.read(folder, ImportReport()))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_root_scenario_and_area_give_the_same_links(made: tuple[Path, list[Truth]]) -> None:
    root, truths = made
    report = ImportReport()
    chunks = list(wair_d.read(root, report))
    assert [c.areas for c in chunks] == [("wair_d_1/00000",), ("wair_d_1/00001",), ("wair_d_2/00000",)]
    assert [c.areas for c in wair_d.read(root / "scenario_2", ImportReport())] == [("wair_d_2/00000",)]
    for chunk, truth in zip(chunks, truths, strict=True):
        assert one(truth.folder).paths.gain.tobytes() == chunk.paths.gain.tobytes()
        assert len(chunk) == len(with_a_path(truth))
    assert report.found["links"] == sum(map(len, chunks))
    assert report.found["LOS links"] == sum(int(c.los.sum()) for c in chunks)
    assert report.left_out["links without a path"] == sum(len(t.keys) for t in truths) - report.found["links"] > 0
    assert report.examples["areas known to be bad"] == ["wair_d_1/09117"]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_positions_delays_angles_and_gains_come_back(made: tuple[Path, list[Truth]], which: int) -> None:
    truth = made[1][which]
    links, entries, gains = one(truth.folder), raw(truth.folder / "Path.npy"), raw(truth.folder / "H_28_0_G.npy")
    row = {key: i for i, key in enumerate(truth.keys)}
    for i, key in enumerate(with_a_path(truth)):
        np.testing.assert_allclose(links.bs[i], [*truth.bs[row[key]] / 2, 6.0], rtol=1e-6)
        np.testing.assert_allclose(links.ue[i], [*truth.ue[row[key]] / 2, 1.5], rtol=1e-6)
        part = slice(links.paths.offsets[i], links.paths.offsets[i + 1])
        order = np.argsort(-np.abs(gains[key]))
        np.testing.assert_allclose(links.paths.delay[part], entries[key]["taud"][order] * 1e-9, rtol=1e-6)
        for name, column in (("dod", ("aod_zenith", "aod_azimuth")), ("doa", ("aoa_zenith", "aoa_azimuth"))):
            for c, ours in enumerate(column):
                np.testing.assert_allclose(getattr(links.paths, ours)[part], entries[key][name][order, c], atol=1e-6)
        carrier = np.exp(-2j * np.pi * 28e9 * entries[key]["taud"][order] * 1e-9)
        np.testing.assert_allclose(links.paths.gain[part], (gains[key][order] * carrier), rtol=1e-5)


def test_los_is_derived_from_geometry(made: tuple[Path, list[Truth]]) -> None:
    for truth in made[1]:
        links = one(truth.folder)
        want = np.array([truth.los[key] for key in with_a_path(truth)])
        assert 0 < want.mean() < 1
        np.testing.assert_array_equal(links.los, want)
        np.testing.assert_array_equal(links.paths.los(), want)
        assert set(links.paths.interactions) == {LOS, UNKNOWN}


def test_csi_is_the_published_formula(made: tuple[Path, list[Truth]]) -> None:
    """H[t, f] = Σ g e^{−j2πfτ} e^{+j2π r·p}, absolute f, elements from the BS on along −x, half a wavelength apart."""
    truth = made[1][0]
    links, entries, gains = one(truth.folder), raw(truth.folder / "Path.npy"), raw(truth.folder / "H_28_0_G.npy")
    have = links.paths.csi().numpy()
    f = 28e9 + np.arange(64) * 720e3
    for i, key in enumerate(with_a_path(truth)[:20]):
        zenith, azimuth = entries[key]["dod"].T
        r = np.array([np.sin(zenith) * np.cos(azimuth), np.sin(zenith) * np.sin(azimuth), np.cos(zenith)])
        p = np.column_stack([-np.arange(32) / 2, np.zeros(32), np.zeros(32)])
        tones = np.exp(-2j * np.pi * np.outer(entries[key]["taud"] * 1e-9, f))
        want = (np.exp(2j * np.pi * p @ r) * gains[key]) @ tones
        assert np.linalg.norm(have[i] - want) < 1e-4 * np.linalg.norm(want)
        # the published elements are centred: the same array, half its length along the axis from the BS
        centred = (np.exp(2j * np.pi * (p - p.mean(0)) @ r) * gains[key]) @ tones
        moved = (np.exp(2j * np.pi * p @ r) * gains[key] * np.exp(-2j * np.pi * p.mean(0) @ r)) @ tones
        np.testing.assert_allclose(moved, centred)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_map_is_drawn_the_right_way_up(made: tuple[Path, list[Truth]], which: int) -> None:
    truth = made[1][which]
    report = ImportReport()
    (links,) = wair_d.read(truth.folder, report, pixels=128)
    assert links.maps.shape == (1, 128, 128)
    assert links.mapped.tolist() == [True]
    assert links.sizes[0] == max(truth.extent) / 2
    centres = (np.arange(128) + 0.5) * max(truth.extent) / 128
    x, y = np.meshgrid(centres, centres)
    x0, y0, x1, y1 = truth.buildings.T[..., None, None]
    want = ((x > x0) & (x < x1) & (y > y0) & (y < y1)).any(0)
    assert (links.maps[0] != want).mean() < 0.002
    assert "BSs and UEs inside a building of the map" not in report.left_out


def test_a_map_that_fits_neither_way_is_noted(area: Path) -> None:
    Image.new("RGB", (40, 30), (90, 90, 90)).save(area / "environment.png")
    report = ImportReport()
    next(wair_d.read(area, report))
    assert report.left_out["BSs and UEs inside a building of the map"] == 6  # a BS and five UEs with a path


def test_a_transparent_ground_is_open(area: Path) -> None:
    Image.new("RGBA", (40, 30), (0, 0, 0, 0)).save(area / "environment.png")
    assert not one(area).maps.any()


def test_an_area_without_a_picture_has_an_unknown_map(area: Path) -> None:
    (area / "environment.png").unlink()
    report = ImportReport()
    (links,) = wair_d.read(area, report)
    assert not links.mapped.any()
    assert not links.maps.any()
    assert report.examples["areas without environment.png"] == ["wair_d_2/00000"]


def test_every_carrier_has_the_same_links(made: tuple[Path, list[Truth]]) -> None:
    truth = made[1][2]
    found = wair_d.carriers(truth.folder)
    assert list(found) == [2.6e9, 6e9, 28e9, 60e9, 100e9]
    for hz, paths in found.items():
        assert paths.offsets.tolist() == found[28e9].offsets.tolist()
        # the fixture's gains fall with the carrier alone; the phase turns with it
        np.testing.assert_allclose(np.abs(paths.gain) * hz, np.abs(found[28e9].gain) * 28e9, rtol=1e-5)
        np.testing.assert_array_equal(paths.delay, found[28e9].delay)
        assert paths.gain.tobytes() == one(truth.folder, carrier=hz).paths.gain.tobytes()
    with pytest.raises(InputError, match="not an area's folder"):
        wair_d.carriers(made[0])
    with pytest.raises(InputError, match=r"no gains at 3\.5 GHz; choose a carrier of 2\.6, 6, 28, 60, 100 GHz"):
        next(wair_d.read(made[0], ImportReport(), carrier=3.5e9))


def test_the_radio_has_the_carrier_that_is_read(area: Path) -> None:
    assert one(area).one_radio() == Radio()
    assert one(area, carrier=60e9).one_radio() == Radio(carrier=60e9)
    said = {"array": {"kind": "upa", "rows": 4, "columns": 4}, "carrier": 2.6e9}
    assert one(area, carrier=2.6e9, radio=said).one_radio() == Radio(UPA(4, 4), carrier=2.6e9)
    with pytest.raises(InputError, match=r"traced at 28 GHz, --radio says 2\.6 GHz; .* with --carrier"):
        one(area, radio=said)


class Harm:
    """Pickles to a call; the test reads what the call would have left behind."""

    def __init__(self, call: Callable[..., Any], *args: object) -> None:
        self.call = call, args

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("file", ["Path.npy", "H_28_0_G.npy", "Info.npy"])
def test_code_in_a_pickle_is_refused_by_name_and_does_not_run(area: Path, file: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    save_dict(area / file, {"bs0_ue00000": Harm(os.mkdir, str(mark))})
    refused(area, file, "refuses to load", f"{os.name}.mkdir")
    save_dict(area / file, {"bs0_ue00000": Harm(eval, f"open({str(mark)!r}, 'w')")})
    refused(area, file, "builtins.eval")
    assert not mark.exists()


@pytest.mark.parametrize(
    "opcodes",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\nfromfile\n.",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.",
        b"(S'true'\nios\nsystem\n.",
        b"cbuiltins\ngetattr\n.",
        b"ccopyreg\n_reconstructor\n.",
    ],
)
def test_only_the_names_of_arrays_are_admitted(area: Path, opcodes: bytes) -> None:
    with (area / "Path.npy").open("wb") as file:
        npy.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(opcodes)
    refused(area, "Path.npy", "refuses to load: the pickle asks for ")


def test_an_array_that_lies_about_its_type_is_not_followed(area: Path) -> None:
    """NumPy's own unpickling would take these bytes as pointers to objects."""
    state = (1, (2,), np.dtype("f8"), False, b"\x41" * 16)
    text = pickle.dumps(state, protocol=2).replace(b"X\x02\x00\x00\x00f8", b"X\x02\x00\x00\x00O8")
    with (area / "Path.npy").open("wb") as file:
        npy.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R" + text[2:-1] + b"b.")
    refused(area, "Path.npy", "not a readable WAIR-D file")


@pytest.mark.parametrize("style", [1, 2])
def test_pickles_of_both_numpys_load(area: Path, style: int) -> None:
    before = one(area)
    module = {1: b"numpy.core.multiarray", 2: b"numpy._core.multiarray"}[style]
    for file in ("Path.npy", "H_28_0_G.npy"):
        save_dict(area / file, raw(area / file), style)
        assert module in (area / file).read_bytes()
    after = one(area)
    assert after.paths.gain.tobytes() == before.paths.gain.tobytes()
    assert after.paths.delay.tobytes() == before.paths.delay.tobytes()


def test_pickles_of_python_2_load(tmp_path: Path) -> None:
    """Its strings are bytes, which `encoding="latin1"` turns into text; here {"taud": array([-1.5])}."""
    dtype = b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    number = b"(K\x01(K\x01t" + dtype + b"\x89U\x08" + np.float64(-1.5).tobytes() + b"tb"
    with (tmp_path / "Path.npy").open("wb") as file:
        npy.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(b"\x80\x02}(U\x04taud" + array + number + b"u.")
    assert wair_d._load(tmp_path / "Path.npy") == {"taud": np.array([-1.5])}


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = raw(path)
    edit(content)
    save_dict(path, content)


def edited(field: str, values: Callable[[NDArray[Any]], Any], key: str = "bs0_ue00001") -> Callable[[Any], object]:
    return lambda content: content[key].update({field: values(content[key][field])})


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (edited("taud", lambda v: v * np.nan), ("taud of bs0_ue00001", "NaN")),
        (edited("dod", lambda v: v * np.inf), ("dod of bs0_ue00001", "NaN or infinite")),
        (edited("doa", lambda v: v[:, :1]), ("doa of bs0_ue00001", "expected shape")),
        (edited("dod", np.rad2deg), ("dod", "radians")),
        (edited("taud", lambda v: -v), ("bs0_ue00001", "faster than light")),
        (edited("taud", lambda v: v.tolist()), ("taud of bs0_ue00001", "not an array")),
        (edited("taud", lambda v: v.astype(str)), ("not a readable",)),
        (lambda c: c.update(bs0_ue99999=c["bs0_ue00001"]), ("Info.npy", "no position for 'bs0_ue99999'")),
        (lambda c: c.update(bs0_ue00001=3), ("bs0_ue00001", "not a dict")),
        (lambda c: c["bs0_ue00001"].pop("doa"), ("bs0_ue00001", "doa")),
        (lambda c: [e.update(taud=e["taud"] * 1e-9) for e in c.values()], ("look like seconds",)),
        (lambda c: [e.update(taud=e["taud"] * 1e-3) for e in c.values()], ("faster than light", "nanoseconds")),
        (lambda c: [e.update(taud=e["taud"] * 1e3) for e in c.values()], ("times as long", "nanoseconds")),
    ],
)
def test_wrong_numbers_are_refused(area: Path, edit: Callable[[Any], object], words: tuple[str, ...]) -> None:
    change(area / "Path.npy", edit)
    refused(area, str(area), *words)


def test_gains_that_do_not_belong_to_the_paths_are_refused(area: Path) -> None:
    kept = raw(area / "H_28_0_G.npy")
    save_dict(area / "H_28_0_G.npy", {**kept, "bs0_ue00001": kept["bs0_ue00001"][1:]})
    refused(area, "H_28_0_G.npy: gain of bs0_ue00001", "expected shape")
    del kept["bs0_ue00001"]
    save_dict(area / "H_28_0_G.npy", kept)
    refused(area, "H_28_0_G.npy: gain of bs0_ue00001 is missing")


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ([240, 180, 10], "3 numbers do not fit"),
        ([np.nan] * 16, "not a list of finite numbers"),
        ([1e9, 180, *[5.0] * 14], "an area of 1e+09 × 180 units"),
        ([0, 0, *[0.0] * 14], "an area of 0 × 0 units"),
        ([240, 180, 5, 5, *[1e30] * 12], "faster than light"),
    ],
)
def test_wrong_geometry_is_refused(area: Path, info: list[float], words: str) -> None:
    np.save(area / "Info.npy", np.array(info))
    refused(area, str(area), words)


@pytest.mark.parametrize("file", ["Info.npy", "Path.npy", "H_28_0_G.npy"])
def test_missing_and_truncated_files_are_named(area: Path, file: str) -> None:
    content = (area / file).read_bytes()
    for length in (0, 5, 60, 128, len(content) // 2, len(content) - 1):
        (area / file).write_bytes(content[:length])
        refused(area, file, "not a readable WAIR-D file")
    (area / file).unlink()
    refused(area, file, "no such file")


def test_folders_without_areas(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "nowhere: no such folder")
    refused(tmp_path, "no WAIR-D areas")
    (tmp_path / "scenario_1").mkdir()
    refused(tmp_path, "scenario_1: no WAIR-D areas")


def test_an_area_where_nothing_arrives_gives_nothing(made: tuple[Path, list[Truth]], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made[1][0].folder, tmp_path / "00003"))
    save_dict(folder / "Path.npy", {})
    report = ImportReport()
    assert list(wair_d.read(folder, report)) == []
    assert report.left_out["links without a path"] == 150


def test_damage_is_an_input_error_or_harmless(area: Path) -> None:
    """Bytes flipped, runs overwritten, ends cut: one error type, whatever breaks."""
    rng = np.random.default_rng(0)
    files = ["Info.npy", "Path.npy", "H_28_0_G.npy", "environment.png"]
    whole = {file: (area / file).read_bytes() for file in files}
    complaints, read = [], 0
    for turn in range(400):
        file = files[turn % len(files)]
        content = bytearray(whole[file])
        start = int(rng.integers(len(content)))
        if turn % 3 == 0:
            content[start] ^= 1 << int(rng.integers(8))
        elif turn % 3 == 1:
            content[start : start + 8] = rng.bytes(8)
        else:
            del content[start:]
        (area / file).write_bytes(content)
        try:
            read += len([links.validate("fuzz") for links in wair_d.read(area, ImportReport(), pixels=16)])
        except InputError as error:
            complaints.append(str(error))
        (area / file).write_bytes(whole[file])
    assert min(len(complaints), read) > 20
    assert all(text.startswith(str(area)) and "\n" not in text for text in complaints)
