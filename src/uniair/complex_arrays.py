"""CSI as people hold it, in whatever form, as complex numbers; what is none is refused with the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.errors import InputError

AMPLITUDES = "amplitudes alone say neither direction nor delay, which the phases hold"
# fields of a record of real and imaginary part: h5py's, MATLAB's and HDF5's own, in lower case
PARTS = (("real", "imag"), ("re", "im"), ("r", "i"))


def complex_tensor(values: Any, what: str) -> Tensor:
    """CSI as people hold it, of any byte order, stride and container, as a complex tensor.

    Args:
        values: a tensor, or whatever `complex_array` takes.
        what: for messages.

    Raises:
        InputError: real, masked, or no array of numbers.
    """
    if not isinstance(values, Tensor):
        out = torch.from_numpy(complex_array(values, what))
        _require_phases(out, what)
        return out
    if values.is_sparse or values.is_quantized:
        raise InputError(f"{what} is a {'sparse' if values.is_sparse else 'quantised'} tensor; give a dense one")
    out = values.detach().resolve_conj().resolve_neg()
    if not out.is_complex():
        kind = str(out.dtype).removeprefix("torch.")
        raise InputError(_real(what, kind, tuple(out.shape), not bool((out < 0).any())))
    out = out.to(torch.complex64) if out.dtype == torch.complex32 else out
    _require_phases(out, what)
    return out


def complex_array(values: Any, what: str) -> NDArray[Any]:
    """CSI as people hold it as complex64 or complex128 of this machine's byte order, which may be written to.

    Args:
        values: complex numbers in an array, in lists, in an array of objects or of arrays of one shape, as records of
            real and imaginary part.
        what: for messages.

    Raises:
        InputError: real, masked, arrays of several shapes, or no numbers.
    """
    if np.ma.is_masked(values):
        raise InputError(f"{what} has masked entries, whose values mean nothing; leave those samples out")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{what} is not an array of numbers ({_line(error)})") from error
    if array.dtype.kind == "O":
        array = _of_objects(array, what)
    if array.dtype.names is not None:
        array = _of_records(array, what)
    if array.dtype.kind in "biuf":
        raise InputError(_real(what, array.dtype.name, array.shape, not bool((array < 0).any())))
    if array.dtype.kind != "c":
        raise InputError(f"{what} is not an array of numbers (it holds {str(array.dtype)[:60]})")
    native = np.complex64 if array.dtype.itemsize == 8 else np.complex128
    out = np.ascontiguousarray(array, native).reshape(array.shape)
    return out if out.flags.writeable else out.copy()


def strongest(csi: Tensor) -> Tensor:
    """Of several UE antennas, [N, UE antennas, ports, subcarriers], the strongest: [N, ports, subcarriers]."""
    if csi.ndim == 3:
        return csi
    return csi[torch.arange(len(csi), device=csi.device), csi.abs().square().sum((2, 3)).argmax(1)]


def _require_phases(csi: Tensor, what: str) -> None:
    """Refuses amplitudes in complex numbers; what is the same everywhere can be a path from broadside at delay 0."""
    if not csi.numel() or (csi.imag != 0).any() or (csi.real < 0).any():
        return
    levels = csi.real.flatten(1) if csi.ndim > 2 else csi.real.reshape(1, -1)
    if (levels.amax(1) != levels.amin(1)).any():
        raise InputError(f"{what} has no imaginary part and no sign: {AMPLITUDES}")


def _of_objects(array: NDArray[Any], what: str) -> NDArray[Any]:
    """An array of numbers, or of arrays of one shape (cells of MATLAB, say), as one of numbers."""
    items = array.ravel().tolist()
    shapes = list(dict.fromkeys(np.shape(item) for item in items))
    if len(shapes) > 1:
        raise InputError(f"{what} holds arrays of {len(shapes)} shapes ({shapes[0]}, {shapes[1]} …); give one shape")
    if not items:
        return np.zeros(array.shape, np.complex128)
    whole = np.asarray([complex_array(item, what) if shapes[0] else item for item in items])
    if whole.dtype.kind == "O" or whole.dtype.kind in "US":
        raise InputError(f"{what} is not an array of numbers (it holds {type(items[0]).__name__})")
    return whole.reshape(array.shape + shapes[0])


def _of_records(array: NDArray[Any], what: str) -> NDArray[Any]:
    """Records of real and imaginary part as complex numbers."""
    names = {name.lower(): name for name in array.dtype.names or ()}
    for real, imaginary in PARTS:
        if names.keys() == {real, imaginary}:
            parts = array[names[real]], array[names[imaginary]]
            if all(part.dtype.kind in "fiu" for part in parts):
                single = all(part.dtype.itemsize <= 4 and part.dtype.kind == "f" for part in parts)
                out = np.empty(array.shape, np.complex64 if single else np.complex128)
                out.real, out.imag = parts
                return out
    raise InputError(f"{what} holds records of {', '.join(array.dtype.names or ())}; give real and imag alone")


def _real(what: str, kind: str, shape: tuple[int, ...], positive: bool) -> str:
    """Why real numbers are refused, and what their layout suggests."""
    pairs = next((axis for axis in (-1, 1) if len(shape) > 2 and shape[axis] == 2), None)
    advice = "give complex [N, antennas, subcarriers]"
    if pairs is not None:
        cut = "csi[..., 0] + 1j * csi[..., 1]" if pairs == -1 else "csi[:, 0] + 1j * csi[:, 1]"
        return f"{what} of type {kind} and shape {shape} is not complex; of real and imaginary parts give {cut}"
    if positive and kind != "bool":
        return f"{what} of type {kind} is not complex: {AMPLITUDES}; {advice}"
    return f"{what} of type {kind} is not complex; {advice}, real + 1j * imaginary"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:80]
