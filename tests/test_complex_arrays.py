"""CSI in every container that people have: taken as the same numbers, or refused in one line with the reason."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from uniair.complex_arrays import complex_array, complex_tensor
from uniair.errors import InputError

RNG = np.random.default_rng(0)
CSI = RNG.normal(size=(3, 4, 8)) + 1j * RNG.normal(size=(3, 4, 8))


def records(kind: str = "<f8", real: str = "real", imaginary: str = "imag") -> Any:
    out = np.zeros(CSI.shape, dtype=[(real, kind), (imaginary, kind)])
    out[real], out[imaginary] = CSI.real, CSI.imag
    return out


def frozen() -> Any:
    out = CSI.copy()
    out.setflags(write=False)
    return out


def cells() -> Any:
    out = np.empty(3, dtype=object)
    out[:] = list(CSI)
    return out


FORMS: dict[str, Callable[[], Any]] = {
    "single": lambda: CSI.astype(np.complex64),
    "big-endian": lambda: CSI.astype(">c16"),
    "long": lambda: CSI.astype(np.clongdouble),
    "by column": lambda: np.asfortranarray(CSI),
    "reversed twice": lambda: CSI[::-1][::-1],
    "records of h5py": records,
    "records r, i": lambda: records("<f4", "r", "i"),
    "records Re, Im": lambda: records(">f8", "Re", "Im"),
    "lists": CSI.tolist,
    "objects": lambda: CSI.astype(object),
    "cells": cells,
    "cells of records": lambda: np.array([None, *records()], dtype=object)[1:],
    "read-only": frozen,
    "masked nowhere": lambda: np.ma.masked_invalid(CSI),
    "tensor": lambda: torch.from_numpy(CSI).requires_grad_(),
    "conjugate view": lambda: torch.from_numpy(CSI.conj()).conj(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_container_changes_nothing(form: str) -> None:
    found = complex_tensor(FORMS[form](), "CSI")
    assert found.is_complex()
    np.testing.assert_allclose(found.numpy(), CSI, rtol=1e-6)
    found[0] = 0  # may be written to, and the caller's own stays as it is


def test_half_precision() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its complex32 experimental
        half = torch.from_numpy(CSI.astype(np.complex64)).to(torch.complex32)
    np.testing.assert_allclose(complex_tensor(half, "CSI").numpy(), CSI, atol=2e-3)
    np.testing.assert_allclose(complex_array(records("<f2"), "CSI"), CSI, atol=2e-3)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.abs(CSI), "amplitudes alone say neither direction nor delay"),
        (np.abs(CSI).astype(complex), "no imaginary part and no sign: amplitudes alone"),
        (torch.from_numpy(np.abs(CSI)), "amplitudes alone"),
        (CSI.real, "is not complex; give complex"),
        (np.stack([CSI.real, CSI.imag], 1), r"csi\[:, 0\] \+ 1j \* csi\[:, 1\]"),
        (np.stack([CSI.real, CSI.imag], -1), r"csi\[..., 0\] \+ 1j \* csi\[..., 1\]"),
        (np.ma.masked_array(CSI, np.abs(CSI) < 0.5), "masked entries"),
        (np.array([CSI[0], CSI[0, :2]], dtype=object), "arrays of 2 shapes"),
        (np.array(["1+2j"] * 4), "not an array of numbers"),
        (np.array(["1+2j", None], dtype=object), "not an array of numbers"),
        ([[1j], [1j, 2j]], "not an array of numbers"),
        (np.zeros(3, dtype=[("power", "f8"), ("phase", "f8")]), "records of power, phase"),
        (torch.from_numpy(CSI).to_sparse(), "sparse"),
        (None, "not an array of numbers"),
        (np.array(["2024-01-01"], dtype="datetime64[D]"), "not an array of numbers"),
    ],
)
def test_what_is_none_is_one_line(values: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        complex_tensor(values, "CSI")
    assert len(str(caught.value).splitlines()) == 1


def test_a_path_from_broadside_has_no_imaginary_part() -> None:
    assert complex_tensor(np.ones((2, 4, 8), complex) * [[[1]], [[3]]], "CSI").shape == (2, 4, 8)
