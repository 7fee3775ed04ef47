"""Drives past a base station whose beams sweep a street: small, seeded, and forecastable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from uniair.data.drives.drive import Drive

BEAMS = 16
DEGREE = 111_195.0  # m


def drive(
    name: str = "scenario1/00001", steps: int = 24, seed: int = 0, beams: int = BEAMS, back: bool = False
) -> Drive:
    """A vehicle crosses all beams at a speed of its own."""
    rng = np.random.default_rng(seed)
    centre = np.linspace(1, beams - 2, steps) + rng.uniform(-0.5, 0.5)
    centre = centre[::-1] if back else centre
    power = (
        0.1 + np.exp(-0.5 * ((np.arange(beams) - centre[:, None]) / 1.5) ** 2) + rng.uniform(0, 0.01, (steps, beams))
    )
    across = np.interp(centre, [0, beams - 1], [20.0, -20.0])
    bs = np.tile([33.42, -111.93], (steps, 1))
    ue = bs + np.column_stack([np.full(steps, 15.0), across / np.cos(np.deg2rad(33.42))]) / DEGREE
    sees = np.full(steps, -1, dtype=np.int8)
    return Drive(name, np.arange(steps, dtype=float), False, power, power.argmax(1).astype(np.int32), bs, ue, sees)


def hidden(drive: Drive, beams: range = range(9, 12)) -> Drive:
    """The same, behind something while its best beam is one of those; its power falls there, and a step before."""
    blocked = np.isin(drive.beam, beams)
    falling = blocked | np.append(blocked[1:], False)
    power = drive.power * np.where(blocked, 0.1, np.where(falling, 0.5, 1.0))[:, None]
    return replace(drive, power=power, los=(~blocked).astype(np.int8))


def drives(count: int = 6, steps: int = 24, scenario: str = "scenario1", beams: int = BEAMS) -> list[Drive]:
    """Every other one goes back."""
    return [drive(f"{scenario}/{n:05d}", steps, n, beams, back=bool(n % 2)) for n in range(count)]
