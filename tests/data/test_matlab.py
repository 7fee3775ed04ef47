"""MAT-files: what SciPy writes and reads comes back the same; damage is an error, never a crash."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from uniair.data import matlab

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "deepmimo" / "sandiego_28ghz"
NAMES = ("channels", "numbers", "table", "flag", "text", "words", "rx_locs", "tx_loc")


def content() -> dict[str, Any]:
    cells = np.empty((1, 3), dtype=object)
    cells[0] = [{"p": np.arange(8.0).reshape(4, 2)}, {"p": np.zeros((8, 0), np.float32)}, {"p": np.int16([[-7]])}]
    table = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    numbers = np.array([[2**40, -3]], dtype=np.int64)
    return {
        "channels": cells,
        "numbers": numbers,
        "table": table,
        "flag": np.array([[True, False]]),
        "text": "isotropic",
        "words": "½ λ",
        "other": "not read",
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_what_scipy_writes_comes_back(tmp_path: Path, compressed: bool) -> None:
    path, wrote = tmp_path / "a.mat", content()
    scipy.io.savemat(path, wrote, do_compression=compressed)
    found = matlab.read(path, NAMES)
    assert list(found) == ["channels", "numbers", "table", "flag", "text", "words"]
    assert (found["text"], found["words"]) == ("isotropic", "½ λ")
    for name in ("numbers", "table", "flag"):
        assert np.array_equal(found[name], wrote[name])
    for have, want in zip(found["channels"], wrote["channels"][0], strict=True):
        assert have[0]["p"].shape == want["p"].shape
        assert np.array_equal(have[0]["p"], want["p"])


def test_byte_order_is_the_files(tmp_path: Path) -> None:
    def element(kind: int, body: bytes) -> bytes:
        return struct.pack(">II", kind, len(body)) + body + b"\0" * (-len(body) % 8)

    numbers = struct.pack(">4d", 1, 2, 3, 4)
    head = element(6, struct.pack(">II", 6, 0)) + element(5, struct.pack(">ii", 2, 2)) + element(1, b"table")
    (tmp_path / "a.mat").write_bytes(b" " * 124 + b"\x01\x00MI" + element(14, head + element(9, numbers)))
    assert matlab.read(tmp_path / "a.mat", NAMES)["table"].tolist() == [[1, 3], [2, 4]]


def test_other_classes_are_an_error_when_asked_for(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"sparse": scipy.sparse.eye(3, format="csc"), "table": np.ones((2, 2))})
    assert list(matlab.read(tmp_path / "a.mat", NAMES)) == ["table"]
    with pytest.raises(ValueError, match="not supported"):
        matlab.read(tmp_path / "a.mat", ("sparse",))


def test_complex_numbers_come_back(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).normal(size=(2, 3, 4, 2)).view(np.complex128)[..., 0]
    scipy.io.savemat(tmp_path / "a.mat", {"wave": wave}, do_compression=True)
    assert np.array_equal(matlab.read(tmp_path / "a.mat", {"wave"})["wave"], wave)


def test_other_files_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    for data in (b"", b"\x89HDF\r\n", b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="not a MAT-file of level 5; save it with -v7"):
            matlab.read(path, NAMES)


@pytest.mark.parametrize("compressed", [False, True])
def test_random_damage_is_an_error_or_nothing(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, content(), do_compression=compressed)
    data, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for turn in range(400):
        broken = bytearray(data)
        for place in rng.integers(124, len(data), rng.integers(1, 4)):
            broken[place] = rng.integers(256)
        path.write_bytes(broken[: rng.integers(len(data))] if turn % 4 == 0 else broken)
        try:
            matlab.read(path, NAMES)
        except (ValueError, LookupError, struct.error, zlib.error):
            refused += 1
    assert refused > 100


@pytest.mark.skipif(not REAL.exists(), reason="real DeepMIMO scenarios are not beside this checkout")
def test_a_real_file_reads_as_with_scipy() -> None:
    path = REAL / "BS1_UE_0-5893.mat"
    ours, theirs = matlab.read(path, NAMES), scipy.io.loadmat(path)
    for name in ("rx_locs", "tx_loc"):
        assert np.array_equal(ours[name], theirs[name])
    assert len(ours["channels"]) == theirs["channels"].size
    for have, want in zip(ours["channels"], theirs["channels"][0], strict=True):
        assert np.array_equal(have[0]["p"], want["p"][0, 0])
