"""The paths of one step of a drive, from which any radio's CSI is made at any moment of the step."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from uniair.errors import InputError
from uniair.files import atomic_path
from uniair.propagation.motion import moved
from uniair.propagation.paths import Paths
from uniair.radio import Radio

FORMAT = "uniair-step-paths/1"


@dataclass(frozen=True)
class StepPaths:
    """Paths between the BS and the UE at a step.

    Attributes:
        paths: of one link.
        carrier: Hz.
        bearing: azimuth of the array's axis, rad.
        velocity: float64 [3] of the UE, m/s, in the paths' frame.
    """

    paths: Paths
    carrier: float
    bearing: float
    velocity: NDArray[np.float64]

    def csi(self, radio: Radio | None = None, after: float = 0.0) -> NDArray[np.complex64]:
        """The channel as a radio sees it: complex64 [ports, subcarriers]; see `Paths.csi` and `moved`.

        What else moves in the street stands still until the next step.

        Args:
            radio: None: paper 1's, at this carrier.
            after: s since the step.

        Raises:
            InputError: the radio has another carrier, at which these paths' gains do not hold.
        """
        radio = Radio(carrier=self.carrier) if radio is None else radio
        if radio.carrier != self.carrier:
            raise InputError(
                f"paths of {self.carrier / 1e9:g} GHz for a radio at {radio.carrier / 1e9:g} GHz: gains and phases are "
                "of one carrier; make the drives again at that one"
            )
        paths = moved(self.paths, self.velocity[None], after, self.carrier) if after else self.paths
        return np.asarray(paths.csi(radio, self.bearing)[0].numpy())

    def write(self, path: Path) -> None:
        """Writes a file of a kB or two; the same paths give the same bytes."""
        tensors = {name: np.ascontiguousarray(getattr(self.paths, name)) for name in Paths.PER_PATH}
        for name in ("gain", "cross"):
            values = getattr(self.paths, name)
            if values is not None:
                tensors[name] = np.ascontiguousarray(values).view(np.float32).reshape(*values.shape, 2)
        header = {"format": FORMAT, "carrier": self.carrier, "bearing": self.bearing}
        with atomic_path(path) as temporary:
            save_file(
                tensors | {"velocity": np.asarray(self.velocity, dtype=np.float64)}, temporary,
                metadata={"uniair": json.dumps(header, sort_keys=True)},
            )  # fmt: skip

    @classmethod
    def read(cls, path: Path) -> StepPaths:
        """What `write` wrote.

        Raises:
            InputError: missing, broken, or of another format.
        """
        if not path.exists():
            raise InputError(f"{path}: no such file; make the drives again")
        try:
            with safe_open(path, framework="numpy") as file:
                header = json.loads((file.metadata() or {})["uniair"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
            if header["format"] != FORMAT:
                raise InputError(f"{path}: format {header['format']!r}; this version reads {FORMAT!r}")
            velocity = tensors.pop("velocity").reshape(3)
            for name in ("gain", "cross"):
                if name in tensors:
                    tensors[name] = tensors[name].view(np.complex64)[..., 0]
            count = len(tensors["gain"])
            if any(len(values) != count or not np.isfinite(values).all() for values in tensors.values()):
                raise ValueError("arrays of different lengths, or NaN")
            paths = Paths(np.array([0, count], dtype=np.int64), **tensors)
            return cls(paths, float(header["carrier"]), float(header["bearing"]), velocity)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: no paths of a step, or damaged ({error}); make the drives again") from error
