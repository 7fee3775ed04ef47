"""What one vehicle's receiver measured, step by step as it came: checked, bounded, and a drive like any other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.data.drives.drive import ECCENTRICITY_SQUARED, SEMI_MAJOR_AXIS, Drive
from uniair.data.drives.windows import GAP
from uniair.errors import InputError

NOWHERE = (math.nan, math.nan)


def beams_of(step: Mapping[str, Any], beams: int) -> tuple[NDArray[np.float64], int]:
    """Powers [B] of a step, linear, NaN where they were not measured, and its best beam; −1 where that is unknown.

    Powers that are all zero say that nothing was received, and count as not measured.

    Args:
        step: `power`, `beam`, or neither; a beam that is given goes before the power's.
        beams: of the codebook.

    Raises:
        InputError: another codebook, powers that are not linear, or no such beam.
    """
    power = np.full(beams, np.nan) if step.get("power") is None else np.asarray(step["power"], np.float64)
    with np.errstate(over="ignore", under="ignore"):  # as it is kept and heard: what is lost there counts as lost
        power = power.astype(np.float32).astype(np.float64)
    if power.shape != (beams,) or (power < 0).any() or np.isinf(power).any():
        raise InputError(f"power of shape {power.shape}: give {beams} linear powers, finite, not dB")
    if not (power > 0).any():
        power = np.full(beams, np.nan)
    best = int(np.nanargmax(power)) if np.isfinite(power).any() else -1
    beam = best if step.get("beam") is None else int(step["beam"])
    if not -1 <= beam < beams:
        raise InputError(f"beam {beam}: give 0 to {beams - 1}, or -1 where unknown")
    return power, beam


def time_of(step: Mapping[str, Any], last: float | None) -> float | None:
    """Time of a step, s; None where none is given.

    Args:
        last: of the step before.

    Raises:
        InputError: it is no number, or earlier than the last.
    """
    if step.get("time") is None:
        return None
    time = float(step["time"])
    if not math.isfinite(time) or (last is not None and time < last):
        raise InputError(f"time {time:g} s: give the steps of a session in their order"
                         + ("" if last is None else f"; the one before was at {last:g} s"))  # fmt: skip
    return time


def goes_on(times: Sequence[float], time: float) -> bool:
    """Whether a step at that time follows those before, s, without a gap; after fewer than two it does."""
    if len(times) < 2:
        return True
    usual = float(np.median(np.diff(times)))
    return not (usual > 0 and time - times[-1] > GAP * usual)


@dataclass
class SessionLog:
    """Steps of one vehicle without a gap.

    Attributes:
        number: of the log.
        timed: whether its steps have a time; else it counts them.
        first: steps that were measured before those that are kept.
        ended: whether no more will come.
        time, power, beam, place: of the steps that are kept: s; linear [B], all NaN where nothing was measured; best
            beam, −1 where unknown; metres across and along, NaN where unknown.
        said: step → int64 [models, F] beams that were forecast from there for the next steps, until they are scored.
        replaced: steps before this one were forecast from by models of which one was replaced since.
    """

    number: int
    timed: bool
    first: int = 0
    ended: bool = False
    time: list[float] = field(default_factory=list)
    power: list[NDArray[np.float32]] = field(default_factory=list)
    beam: list[int] = field(default_factory=list)
    place: list[tuple[float, float]] = field(default_factory=list)
    said: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    replaced: int = 0

    def __len__(self) -> int:
        """Steps that are kept."""
        return len(self.beam)

    @property
    def steps(self) -> int:
        """Steps so far, the forgotten ones too."""
        return self.first + len(self)

    def goes_on(self, time: float | None) -> bool:
        """Whether a step at that time follows without a gap."""
        return self.timed == (time is not None) and (time is None or goes_on(self.time, time))

    def add(self, step: Mapping[str, Any], time: float | None, beams: int, longest: int) -> None:
        """Takes one more step, and forgets the first of more than `longest`. A measured power says the best beam.

        Raises:
            InputError: see `beams_of`, or a position that is none.
        """
        power, beam = beams_of(step, beams)
        measured = bool((power > 0).any())
        place = np.asarray(NOWHERE if step.get("position") is None else step["position"], np.float64)
        if place.shape != (2,):
            raise InputError(f"position of shape {place.shape}: give metres across and along, [2]")
        self.time.append(float(self.steps) if time is None else time)
        self.power.append((power if measured else np.full(beams, np.nan)).astype(np.float32))
        self.beam.append(
            int(np.nanargmax(self.power[-1])) if measured else beam if step.get("beam") is not None else -1
        )
        self.place.append((float(place[0]), float(place[1])) if np.isfinite(place).all() else NOWHERE)
        if len(self) > longest:
            for kept in (self.time, self.power, self.beam, self.place):
                del kept[0]
            self.first += 1

    def beam_at(self, step: int) -> int:
        """The best beam of a step that is kept; −1 where unknown."""
        return self.beam[step - self.first]

    def took(self, step: int) -> float:
        """Seconds from the step before to a step; 0 where that is not kept, or no time is known."""
        here = step - self.first
        return self.time[here] - self.time[here - 1] if self.timed and here > 0 else 0.0

    def drive(self) -> Drive:
        """The steps that are kept as a drive, whose places are metres around a base station at 0° north, 0° east."""
        steps = len(self)
        across, along = np.array(self.place).reshape(steps, 2).T
        ue = np.column_stack([along / (1 - ECCENTRICITY_SQUARED), across]) / SEMI_MAJOR_AXIS
        power = np.stack(self.power).astype(np.float64)
        return Drive(f"stream/{self.number:07d}", np.array(self.time), self.timed, power, np.array(self.beam, np.int32),
                     np.zeros((steps, 2)), np.rad2deg(ue), np.full(steps, -1, np.int8))  # fmt: skip
