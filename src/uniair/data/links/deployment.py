"""What a campaign draws anew for each area: carrier, where base stations and users stand, and how it is traced."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from uniair.area.area import Area
from uniair.errors import InputError
from uniair.propagation.ray_tracing import RayTracing, defined

KINDS = ("poles", "walls", "roofs", "masts")
MATERIALS = {"concrete": 0.5, "brick": 0.2, "marble": 0.1, "glass": 0.1, "wood": 0.1}
GROUNDS = {"concrete": 0.6, "medium_dry_ground": 0.4}
DEPTHS = {2: 0.2, 3: 0.6, 4: 0.2}


@dataclass(frozen=True)
class Deployment:
    """What differs from area to area. As it is, nothing does: poles and users of paper 1's heights.

    Attributes:
        carriers: Hz, one of which each area draws; none: the tracer's.
        poles, walls, roofs, masts: shares of areas whose base stations stand on poles in the street, on walls, on
            roofs, on masts of their own. An area without a wall or roof that fits has poles.
        pole_height: least and most, m above ground; none: the campaign's `bs_height`.
        wall_height: least and most, m above ground.
        above_roof: least and most, m above the roof.
        highest: no base station on a roof is higher above ground, m.
        mast_height: least and most, m above ground.
        windows: share of users at windows and on balconies.
        window_height: lowest and highest of them, m above ground.
        vary_tracer: draw depth, diffraction, rays, probe users, paths kept and materials too, so that nothing learned
            leans on one setting of the tracer.
    """

    carriers: tuple[float, ...] = ()
    poles: float = 1.0
    walls: float = 0.0
    roofs: float = 0.0
    masts: float = 0.0
    pole_height: tuple[float, float] | None = None
    wall_height: tuple[float, float] = (3.0, 15.0)
    above_roof: tuple[float, float] = (1.5, 6.0)
    highest: float = 40.0
    mast_height: tuple[float, float] = (15.0, 40.0)
    windows: float = 0.0
    window_height: tuple[float, float] = (4.0, 30.0)
    vary_tracer: bool = False

    def __post_init__(self) -> None:
        shares = np.array([getattr(self, name) for name in KINDS])
        if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
            raise InputError(f"deployment: shares of {', '.join(KINDS)} are {shares.tolist()}; give one above 0")
        if not 0 <= self.windows <= 1:
            raise InputError(f"deployment: windows is {self.windows:g}; give a share of the users, 0 to 1")
        for name in ("pole_height", "wall_height", "above_roof", "mast_height", "window_height"):
            if (extent := getattr(self, name)) is not None and not 0 < extent[0] <= extent[1] < np.inf:
                raise InputError(f"deployment: {name} {extent} must be two heights in metres, the lower first")
        if not all(np.isfinite(carrier) and carrier > 0 for carrier in self.carriers):
            raise InputError(f"deployment: carriers {self.carriers} must be frequencies in Hz")

    def tracer(self, config: RayTracing, rng: np.random.Generator) -> RayTracing:
        """The settings that an area is traced with."""
        if self.carriers:
            config = replace(config, frequency=float(rng.choice(self.carriers)))
        if not self.vary_tracer:
            return config
        material, ground = (_material(names, config.frequency, rng) for names in (MATERIALS, GROUNDS))
        return replace(
            config,
            depth=int(rng.choice(list(DEPTHS), p=list(DEPTHS.values()))),
            diffraction=bool(rng.random() < 0.85),
            samples=int(config.samples * 2 ** rng.uniform(-1, 1)),
            probe_users=int(rng.integers(3, 13)),
            paths=int(rng.integers(config.paths // 3, config.paths + 1)),
            building_material=material,
            ground_material=ground,
            seed=int(rng.integers(1, 2**31)),
        )

    def require_materials(self, carrier: float) -> None:
        """Raises `InputError` where none of the materials that are drawn is defined at a carrier, Hz."""
        for names in (MATERIALS, GROUNDS):
            if not any(defined(name, carrier) for name in names):
                raise InputError(
                    f"none of {', '.join(names)} is defined at {carrier / 1e9:g} GHz (ITU-R P.2040); give another"
                )

    def stations(
        self, area: Area, count: int, height: float, rng: np.random.Generator, drawn: np.random.Generator
    ) -> NDArray[np.float64]:
        """Where an area's base stations stand: [count, 3] m.

        Args:
            height: of poles where `pole_height` says none, m.
            rng: for places in the street.
            drawn: for all else.
        """
        shares = np.array([getattr(self, name) for name in KINDS])
        kind = KINDS[drawn.choice(len(KINDS), p=shares / shares.sum())] if shares[1:].any() else "poles"
        try:
            if kind == "walls":
                return area.drop_at_walls(count, *self.wall_height, drawn)
            if kind == "roofs":
                return area.drop_on_roofs(count, self.above_roof, self.highest, drawn)
        except InputError:  # none that fits
            pass
        extent = self.mast_height if kind == "masts" else self.pole_height
        if extent is None:
            return area.drop(count, height, rng)
        heights = drawn.uniform(*extent, count)
        return np.concatenate([area.drop(1, float(h), rng) for h in heights])

    def users(
        self, area: Area, count: int, height: float, rng: np.random.Generator, drawn: np.random.Generator
    ) -> NDArray[np.float64]:
        """Where an area's users are: [count, 3] m; arguments as for `stations`."""
        up = int(drawn.binomial(count, self.windows)) if self.windows else 0
        found = [area.drop(count - up, height, rng)] if up < count else []
        if up:
            try:
                found.append(area.drop_at_walls(up, *self.window_height, drawn))
            except InputError:  # sheds alone
                found.append(area.drop(up, height, rng))
        return np.concatenate(found)


def _material(shares: dict[str, float], frequency: float, rng: np.random.Generator) -> str:
    names = [name for name in shares if defined(name, frequency)]
    weights = np.array([shares[name] for name in names])
    return str(names[rng.choice(len(names), p=weights / weights.sum())])
