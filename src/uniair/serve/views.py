"""Hypotheses about stations' views of the site, embedded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from shapely.errors import ShapelyError
from shapely.geometry import Polygon
from torch import Tensor

from uniair.area.area import Area, polygons_of
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.site.frame import View

WALL = 1e3  # m, of a building whose height is not said


@dataclass(frozen=True, eq=False)
class Hypotheses:
    """`count` hypotheses of one view.

    Attributes:
        ue: float32 [count, 3] m in the site's frame; None: unknown.
        los: [count] 1 or 0; None: unknown.
        radio: whose channels they are compared with; None: the station's.
    """

    view: View
    count: int
    ue: NDArray[np.floating] | None = None
    los: NDArray[np.floating] | None = None
    radio: Radio | None = None

    @property
    def told(self) -> tuple[float, str, bool]:
        """What the places are told of the radio: see `Environment.seen_by`."""
        radio = self.view.radio if self.radio is None else self.radio
        return radio.carrier, radio.clock, radio.array.pattern != "isotropic"

    @property
    def apart(self) -> Tensor | None:
        """From the BS to each UE: float64 [count] m, or None."""
        if self.ue is None:
            return None
        return (torch.from_numpy(self.view.turned(self.ue)).double() - self.view.bs.double()).norm(dim=-1)

    def __post_init__(self) -> None:
        if self.ue is not None and not ((self.ue[:, :2] >= 0) & (self.ue[:, :2] <= self.view.side)).all():
            raise InputError(
                f"ue: a position lies outside the site; give x and y from 0 to {self.view.side:g} m, "
                "measured from its south-west corner"
            )


def believed(buildings: Sequence[Mapping[str, Any]] | None, own: Area) -> tuple[Area, list[int]]:
    """The buildings that a request believes in, or else a site's own, and the number of each: its `id`, or its place.

    Args:
        buildings: with `outline`, `holes` and `height`; without a height they are walls.

    Raises:
        InputError: an outline that is none.
    """
    if buildings is None:
        return own, list(range(len(own.footprints)))
    footprints: list[Polygon] = []
    heights: list[float] = []
    numbers: list[int] = []
    for number, building in enumerate(buildings):
        try:
            parts = polygons_of(Polygon(building["outline"], building.get("holes") or []))
        except (ValueError, ShapelyError) as error:
            raise InputError(f"buildings[{number}]: not an outline ({error}); give at least 3 corners") from error
        height, name = building.get("height"), building.get("id")
        footprints += parts
        heights += len(parts) * [WALL if height is None else height]
        numbers += len(parts) * [number if name is None else name]
    return Area(own.name, tuple(footprints), np.array(heights), own.bounds), numbers


def embed(model: UniversalModel, parts: Sequence[Hypotheses]) -> list[Tensor]:
    """Embeddings of each part, [count, E]; parts of one view that know the same go through together.

    Rays are launched from the BS and the map is encoded once a pass, which takes longer than a few positions do.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, part in enumerate(parts):
        groups.setdefault((id(part.view), part.ue is None, part.los is None, part.told), []).append(number)
    out: list[Tensor] = [torch.empty(0)] * len(parts)
    for members in groups.values():
        chosen = [parts[number] for number in members]
        here = chosen[0].view
        count = sum(part.count for part in chosen)
        ue = [here.turned(part.ue) for part in chosen if part.ue is not None]
        los = [part.los for part in chosen if part.los is not None]
        env = Environment(
            map=here.map[None],
            bs=here.bs.expand(count, 3),
            size=torch.full((count,), here.size),
            ue=np.concatenate(ue) if ue else None,
            los=np.concatenate(los) if los else None,
            downtilt=here.tilts(count),
        )
        z = model.encode_environment(env.seen_by(here.radio if chosen[0].radio is None else chosen[0].radio))
        for number, found in zip(members, torch.split(z, [part.count for part in chosen]), strict=True):
            out[number] = found
    return out
