"""Files of CSI: every format and way to store complex numbers gives the same; axes are put in order or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from uniair.data.csi_files import parse_axes, read_csi
from uniair.errors import InputError

RNG = np.random.default_rng(0)
CSI = RNG.normal(size=(3, 4, 8)) + 1j * RNG.normal(size=(3, 4, 8))


def hdf5(path: Path, **arrays: Any) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


def matlab_73(path: Path) -> Path:
    """As MATLAB's -v7.3 writes it: HDF5 after a block of 512 bytes, turned around, records of real and imag."""
    h5py = pytest.importorskip("h5py")
    values = np.zeros(CSI.T.shape, dtype=[("real", "<f8"), ("imag", "<f8")])
    values["real"], values["imag"] = CSI.T.real, CSI.T.imag
    with h5py.File(path, "w", userblock_size=512) as file:
        file["H"] = values
        file["H"].attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def saved(path: Path, save: Callable[[Path], Any]) -> Path:
    save(path)
    return path


WAYS: dict[str, Callable[[Path], Path]] = {
    "npy": lambda f: saved(f / "a.npy", lambda p: np.save(p, CSI.astype(">c16"))),
    "npy by column": lambda f: saved(f / "a.npy", lambda p: np.save(p, np.asfortranarray(CSI))),
    "npz": lambda f: saved(f / "a.npz", lambda p: np.savez(p, csi=CSI, positions=np.zeros((3, 3)))),
    "npz of parts": lambda f: saved(f / "a.npz", lambda p: np.savez(p, csi_real=CSI.real, csi_imag=CSI.imag)),
    "mat": lambda f: saved(f / "a.mat", lambda p: savemat(p, {"H": CSI, "n": 3, "note": "drive"})),
    "mat packed": lambda f: saved(f / "a.mat", lambda p: savemat(p, {"csi": CSI}, do_compression=True)),
    "mat 7.3": lambda f: matlab_73(f / "a.mat"),
    "hdf5": lambda f: hdf5(f / "a.h5", **{"drive/csi": CSI, "drive/time": np.arange(3.0)}),
    "hdf5 of parts": lambda f: hdf5(f / "a.hdf5", **{"csi/real": CSI.real, "csi/imag": CSI.imag}),
    "npy that is called otherwise": lambda f: saved(f / "a.dat", lambda p: np.save(p.open("wb"), CSI)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_file_gives_the_same(way: str, tmp_path: Path) -> None:
    found = read_csi(WAYS[way](tmp_path))
    assert np.array_equal(found, CSI)
    assert found.dtype.isnative


def test_axes_are_put_in_order(tmp_path: Path) -> None:
    four = np.stack([CSI, 2 * CSI], 1)  # [users, rx, tx, subcarriers]
    for text, order in (("users,rx,tx,subcarriers", (0, 1, 2, 3)), ("subcarriers, tx, rx, users", (3, 2, 1, 0)),
                        ("tx,subcarriers,users,rx", (2, 3, 0, 1))):  # fmt: skip
        np.save(tmp_path / "a.npy", four.transpose(order))
        assert np.array_equal(read_csi(tmp_path / "a.npy", parse_axes(text)), four)
    np.save(tmp_path / "a.npy", CSI[0].T)
    assert np.array_equal(read_csi(tmp_path / "a.npy", parse_axes("frequency,antennas")), CSI[:1])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("users,tx,colour", "no axis 'colour'"),
        ("users,users,tx,subcarriers", "named twice"),
        ("users,tx", "no subcarriers"),
        ("users,rx,tx,subcarriers", "has 3 axes"),
    ],
)
def test_axes_that_do_not_fit_are_one_line(text: str, says: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", CSI)
    with pytest.raises(InputError, match=says):
        read_csi(tmp_path / "a.npy", parse_axes(text))


@pytest.mark.parametrize(
    ("way", "says"),
    [
        (lambda f: f / "absent.npy", "no such file"),
        (lambda f: saved(f / "a.npy", lambda p: np.save(p, np.abs(CSI))), "amplitudes alone"),
        (lambda f: saved(f / "a.npy", lambda p: np.save(p, np.array([CSI], dtype=object))), "could run code"),
        (lambda f: saved(f / "a.npz", lambda p: np.savez(p, a=CSI, b=CSI)), "which array is CSI is not clear"),
        (lambda f: saved(f / "a.npz", lambda p: p.write_bytes(b"PK\x03\x04half")), "can't be read"),
        (lambda f: saved(f / "a.npy", lambda p: p.write_bytes(b"\x93NUMPY\x01\x00")), "can't be read"),
        (
            lambda f: saved(f / "a.mat", lambda p: p.write_bytes(b"MATLAB 5.0".ljust(124) + b"\0\1IMxx")),
            "can't be read",
        ),
        (lambda f: saved(f / "a.h5", lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))), "can't be read|h5py"),
        (lambda f: saved(f / "a.csi", lambda p: p.write_text("1+2j")), "no file of CSI"),
    ],
)
def test_bad_files_are_one_line(way: Callable[[Path], Path], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read_csi(way(tmp_path))
    assert len(str(caught.value).splitlines()) == 1
