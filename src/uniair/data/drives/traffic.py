"""Road traffic: vehicles as meshes, and how they drive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.propagation.street import Mesh

# paint, linear RGB: white, silver, grey, black, blue, red, green, yellow
PAINTS = np.array(
    [
        [0.75, 0.75, 0.73], [0.45, 0.46, 0.48], [0.16, 0.17, 0.18], [0.02, 0.02, 0.02],
        [0.03, 0.08, 0.35], [0.45, 0.02, 0.02], [0.03, 0.22, 0.08], [0.65, 0.42, 0.03],
    ]
)  # fmt: skip
GLASS, TYRE, BOX = (0.03, 0.04, 0.05), (0.01, 0.01, 0.01), (0.62, 0.62, 0.60)
# Intelligent Driver Model (Treiber, Hennecke and Helbing 2000): m/s², m/s², s, m
ACCELERATION, BRAKING, HEADWAY, STANDSTILL = 1.8, 2.5, 1.2, 2.0
TYRES = 8.0  # m/s², the hardest braking on dry asphalt
TOP_SPEED = 14.0  # m/s, the limit in towns

Outline = tuple[tuple[float, float], ...]  # convex, counter-clockwise, (x, z) seen from the vehicle's right side, m


@dataclass(frozen=True)
class Kind:
    """A kind of vehicle: its sizes in m, and its parts as side views that are drawn out across its width.

    Attributes:
        share: of the traffic.
        parts: outline, width and colour of each; None is the paint.
        wheels: x of the axles.
    """

    length: float
    width: float
    height: float
    share: float
    parts: tuple[tuple[Outline, float, tuple[float, float, float] | None], ...]
    wheels: tuple[float, ...]


def _block(x0: float, x1: float, z0: float, z1: float) -> Outline:
    return ((x0, z0), (x1, z0), (x1, z1), (x0, z1))


KINDS = {
    "car": Kind(
        4.5, 1.8, 1.5, 0.58,
        (
            (((-2.25, 0.3), (2.25, 0.3), (2.25, 0.7), (1.1, 0.95), (-2.1, 0.95), (-2.25, 0.8)), 1.8, None),
            (((-1.95, 0.95), (1.0, 0.95), (0.3, 1.44), (-1.4, 1.44)), 1.6, GLASS),
            (_block(-1.4, 0.3, 1.44, 1.5), 1.6, None),
        ),
        (-1.4, 1.4),
    ),
    "van": Kind(
        5.6, 2.0, 2.4, 0.16,
        (
            (((-2.8, 0.35), (2.8, 0.35), (2.8, 1.1), (1.9, 2.4), (-2.8, 2.4)), 2.0, None),
            (((1.0, 1.3), (2.35, 1.3), (1.85, 2.05), (1.0, 2.05)), 2.02, GLASS),
        ),
        (-1.8, 1.8),
    ),
    "bus": Kind(
        12.0, 2.55, 3.1, 0.12,
        ((_block(-6, 6, 0.35, 3.1), 2.55, None), (_block(-5.7, 5.9, 1.4, 2.5), 2.57, GLASS)),
        (-3.5, 3.6),
    ),
    "truck": Kind(
        8.4, 2.5, 3.6, 0.14,
        (
            (_block(-4.2, 2.1, 0.9, 3.6), 2.5, BOX),
            (_block(-4.2, 4.2, 0.5, 0.9), 2.4, TYRE),
            (((2.3, 0.9), (4.2, 0.9), (4.2, 1.7), (3.9, 2.8), (2.3, 2.8)), 2.4, None),
            (((2.8, 1.6), (4.1, 1.6), (3.9, 2.4), (2.8, 2.4)), 2.42, GLASS),
        ),
        (-2.8, 3.2),
    ),
}  # fmt: skip


HEAVY = ("bus", "truck")


@dataclass(frozen=True)
class Lane:
    """A straight lane.

    Attributes:
        offset: to the left of the street's axis, m.
        direction: 1 along the axis, −1 against it.
    """

    offset: float
    direction: int


@dataclass(frozen=True)
class Traffic:
    """V vehicles over T steps; the UE's own is the first.

    Attributes:
        kinds: [V] names in `KINDS`.
        paints: [V] rows of `PAINTS`.
        along: float64 [T, V] place of each vehicle's middle along the street's axis, m.
        lanes: [V] of each.
        speed: float64 [T, V] m/s, not negative.
    """

    kinds: tuple[str, ...]
    paints: tuple[int, ...]
    lanes: tuple[Lane, ...]
    along: NDArray[np.float64]
    speed: NDArray[np.float64]


def mesh(kind: str, paint: int, name: str) -> Mesh:
    """A vehicle as one mesh of metal: origin on the ground under its middle, +x ahead."""
    made = KINDS[kind]
    wheel = np.arange(8) * np.pi / 4 + np.pi / 8
    solids: list[tuple[Any, float, float, Any]] = [
        (outline, 0.0, width, PAINTS[paint] if colour is None else colour) for outline, width, colour in made.parts
    ]
    for axle in made.wheels:
        radius = 0.33 if made.height < 2 else 0.45
        rim = np.column_stack([axle + radius * np.cos(wheel), radius * (1 + np.sin(wheel))])
        solids += [(rim, side * (made.width / 2 - 0.12), 0.26, TYRE) for side in (-1, 1)]
    vertices: list[NDArray[np.float64]] = []
    faces: list[Any] = []
    colours: list[Any] = []
    for outline, middle, width, colour in solids:
        n, start = len(outline), sum(map(len, vertices))
        x, z = np.asarray(outline).T
        near = np.column_stack([x, np.full(n, middle - width / 2), z])
        vertices.append(np.concatenate([near, near + np.array([0, width, 0])]))
        i = np.arange(n)
        j = (i + 1) % n
        fan = np.column_stack([np.zeros(n - 2, dtype=np.int64), i[1:-1], i[2:]])
        corners = [fan, fan[:, ::-1] + n, np.column_stack([i, i + n, j + n]), np.column_stack([i, j + n, j])]
        faces.append(np.concatenate(corners) + start)
        colours.append(np.tile(np.asarray(colour), (len(faces[-1]), 1)))
    return Mesh(
        name,
        np.concatenate(vertices).astype(np.float32),
        np.concatenate(faces).astype(np.uint32),
        np.concatenate(colours).astype(np.float32),
        "metal",
    )


def drive_through(
    lanes: tuple[Lane, ...],
    window: dict[Lane, tuple[float, float]],
    density: float,
    steps: tuple[int, int],
    period: float,
    rng: np.random.Generator,
    own_lanes: tuple[Lane, ...] = (),
    heavy: float | None = None,
) -> Traffic:
    """A car with the UE drives through its lane's window among other traffic.

    Every driver follows the Intelligent Driver Model towards a desired speed of his own; the UE's changes now and then,
    down to a stop, so that nothing in the lane moves evenly.

    Args:
        lanes: of the street.
        window: where along the axis the UE is recorded in each lane: smallest and largest place, m.
        density: other vehicles per metre of lane; 0 leaves the street to the UE.
        steps: least and most of them; the street's length and the least bound the UE's speed.
        period: s between steps.
        rng: all that is drawn.
        own_lanes: those that the UE takes; all by default.
        heavy: share of buses and trucks, which are higher than a car's antenna, in the traffic; by default as in
            `KINDS`.

    Returns:
        The steps from the UE's entry into the window to its exit, or to the most.
    """
    own = (own_lanes or lanes)[rng.integers(len(own_lanes or lanes))]
    low, high = window[own]
    top_speed = min(TOP_SPEED, (high - low) / (steps[0] * period))
    lead = 15.0  # m before the window, so that speeds have settled
    reach = max(high - low, 30.0) + 60.0
    flow = {lane: rng.uniform(5.0, 13.0) for lane in lanes}  # m/s at which a lane moves at first
    kinds, drawn_lanes, place = ["car"], [own], [(low if own.direction > 0 else -high) - lead]
    desire = [rng.uniform(0.4, 1.0) * top_speed]
    names = list(KINDS)
    share = np.array([KINDS[name].share for name in names])
    if heavy is not None:
        large = np.array([name in HEAVY for name in names])
        share = np.where(large, heavy * share / share[large].sum(), (1 - heavy) * share / share[~large].sum())
    for lane in lanes if density > 0 else ():
        at = -reach + rng.exponential(1 / density)
        while at < reach:
            kind = names[rng.choice(len(names), p=share / share.sum())]
            half = KINDS[kind].length / 2
            free = [i for i, other in enumerate(drawn_lanes) if other == lane]
            if all(abs(at - place[i]) > half + KINDS[kinds[i]].length / 2 + 2 * STANDSTILL for i in free):
                kinds.append(kind)
                drawn_lanes.append(lane)
                place.append(at)
                desire.append(flow[lane] * rng.uniform(0.8, 1.2))
            at += half + 3 * STANDSTILL + rng.exponential(1 / density)
    length = np.array([KINDS[kind].length for kind in kinds])
    leads = _leaders(drawn_lanes, np.array(place))
    x, wanted = np.array(place), np.array(desire)
    v = np.array([flow[lane] for lane in drawn_lanes])
    v[0] = min(v[0], top_speed)
    first, last = (low, high) if own.direction > 0 else (-high, -low)
    along: list[NDArray[np.float64]] = []
    speed: list[NDArray[np.float64]] = []
    change = rng.exponential(2.5)
    while x[0] <= last and len(along) < steps[1]:
        if x[0] >= first:
            along.append(x.copy())
            speed.append(v.copy())
            if (change := change - period) < 0:  # a new wish; one in six is to stop
                wanted[0] = 0.05 if rng.random() < 1 / 6 else rng.uniform(0.3, 1.0) * top_speed
                change = rng.exponential(1.5 if wanted[0] < 1 else 2.5)
        gap = np.where(leads >= 0, x[leads] - x - (length + length[leads]) / 2, np.inf)
        closing = np.where(leads >= 0, v - v[leads], 0.0)
        v = np.maximum(v + _idm(v, wanted, gap, closing) * period, 0.0)
        x = x + v * period
    direction = np.array([lane.direction for lane in drawn_lanes])
    paints = tuple(int(p) for p in rng.integers(len(PAINTS), size=len(kinds)))
    return Traffic(tuple(kinds), paints, tuple(drawn_lanes), np.array(along) * direction, np.array(speed))


def _leaders(lanes: list[Lane], place: NDArray[np.float64]) -> NDArray[np.int64]:
    """The vehicle ahead of each in its lane, −1 where there is none; driving never changes the order."""
    leads = np.full(len(lanes), -1)
    for lane in dict.fromkeys(lanes):
        here = np.flatnonzero([other == lane for other in lanes])
        here = here[np.argsort(place[here])]
        leads[here[:-1]] = here[1:]
    return leads


def _idm(
    v: NDArray[np.float64], wanted: NDArray[np.float64], gap: NDArray[np.float64], closing: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Acceleration of the Intelligent Driver Model, m/s²: a wish is braked for gently, the car ahead as need be."""
    safe = STANDSTILL + np.maximum(v * HEADWAY + v * closing / (2 * np.sqrt(ACCELERATION * BRAKING)), 0.0)
    free = np.maximum(ACCELERATION * (1 - (v / wanted) ** 4), -BRAKING)
    return np.maximum(free - ACCELERATION * (safe / np.maximum(gap, 0.1)) ** 2, -TYRES)
