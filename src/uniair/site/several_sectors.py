"""Where users are, by one, two or three sectors that hear them: the model beside fingerprints and geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsRegressor

from uniair.environment import UE_HEIGHT
from uniair.evaluation import classical
from uniair.evaluation.posterior import Posterior
from uniair.evaluation.tables import Table
from uniair.models.universal import UniversalModel
from uniair.site import station_links
from uniair.site.covered import Covered
from uniair.site.frame import log_likelihood, stand_ins, view
from uniair.site.site import Site
from uniair.site.station_answers import POSITIONED, STEP, Questions
from uniair.training.heads import Adaptation, divide

MOST = 3  # sectors
LEAST = 20  # tested users; a table of fewer says little
NEIGHBOURS = 5
MODEL, PRINTS, GEOMETRY = (
    "likelihood map, nothing tuned",
    f"fingerprints, {NEIGHBOURS} nearest",
    "geometry: first path and beam",
)


@dataclass(frozen=True)
class Heard:
    """U users in the street, and who hears them.

    Attributes:
        ue: [U, 3] m.
        row: int [S, U] each user's link of each sector; −1 where that does not hear them.
        rsrp: [S, U] dBm; −inf where a sector does not hear the user.
        order: int [S, U] sectors by falling RSRP; those that do not hear the user come last.
        learn, test: users in streets to learn from, and in others to test on.
    """

    ue: NDArray[np.float64]
    row: NDArray[np.int64]
    rsrp: NDArray[np.float64]
    order: NDArray[np.int64]
    learn: NDArray[np.int64]
    test: NDArray[np.int64]


def positions(model: UniversalModel, site: Site, covered: Covered, wanted: Questions) -> dict[str, Any] | None:
    """Position errors of users that several sectors hear, by how many of these are asked, the strongest first.

    The same users in every column: of streets that nothing learned from, heard by as many sectors as are asked at most.
    None where fewer than `LEAST` are there.

    Returns:
        `users`, `sectors` (at most so many were asked), `errors`: method → list over 1, 2, … sectors of `median_m` and
        `cdf90_m`.
    """
    links = [station_links.links_of(site, number, covered) for number in range(len(site.stations))]
    heard = _heard(site, covered, links, wanted.seed)
    if heard is None:
        return None
    counts = (heard.row[:, heard.test] >= 0).sum(0)
    most = next((n for n in range(min(MOST, len(links)), 0, -1) if (counts >= n).sum() >= LEAST), 0)
    if not most:
        return None
    rng = np.random.default_rng([wanted.seed, 0x3E])
    users = np.sort(rng.permutation(heard.test[counts >= most])[:POSITIONED])
    grid, log = None, None
    fixes = np.full((most, len(users), 2), np.nan)
    prints: list[NDArray[np.float32] | None] = []
    for number, of in enumerate(links):
        rank = np.argmax(heard.order[:, users] == number, axis=0)  # of this sector among those of each user
        mine = np.flatnonzero((rank < most) & (heard.row[number, users] >= 0))
        prints.append(None)
        if of is None or not len(mine):
            continue
        rows = heard.row[number, users[mine]]
        batch = station_links.batch(site, number, of.select(rows))
        asked = batch.csi if batch.radio.clock == "first_path" else model.encode_channel(batch.csi, batch.radio)
        grid, found = log_likelihood(model, site, number, asked, STEP, height=UE_HEIGHT)
        if log is None:
            log = torch.zeros(most, len(users), *found.shape[1:])
        for k in range(most):  # a sector counts from the column on in which its rank is asked
            part = np.flatnonzero(rank[mine] <= k)
            log[k, mine[part]] += found[torch.from_numpy(part)].cpu()
        if batch.radio.clock == "absolute":
            fixes[rank[mine], mine] = view(site, number).back(classical.geometry(batch, UE_HEIGHT))
        every = station_links.batch(site, number, of)
        prints[-1] = classical.prints(every)
    assert grid is not None
    assert log is not None
    truth = heard.ue[users, :2]
    errors = {
        MODEL: [_errors(np.stack([Posterior(grid, one).maximum() for one in of_k]) - truth) for of_k in log],
        PRINTS: [_errors(_by_prints(heard, prints, users, k + 1) - truth) for k in range(most)],
    }
    if np.isfinite(fixes).all():
        power = 10 ** (np.take_along_axis(heard.rsrp[:, users], heard.order[:most, users], axis=0) / 10)
        share = [(power[: k + 1] / power[: k + 1].sum(0))[..., None] for k in range(most)]
        errors[GEOMETRY] = [_errors((one * fixes[: len(one)]).sum(0) - truth) for one in share]
    return {"users": len(users), "sectors": most, "learned": len(heard.learn), "errors": errors}


def _errors(off: NDArray[np.float64]) -> dict[str, float]:
    size = np.linalg.norm(off, axis=1)
    return {"median_m": float(np.median(size)), "cdf90_m": float(np.quantile(size, 0.9))}


def _heard(site: Site, covered: Covered, links: list[Any], seed: int) -> Heard | None:
    """Who hears whom, and the streets; None of too few users."""
    users = covered.users
    outdoors = np.flatnonzero(users.floor < 0)
    ue = users.points[outdoors]
    row = np.full((len(links), len(ue)), -1)
    for number, of in enumerate(links):
        known = {} if of is None else {place.tobytes(): i for i, place in enumerate(of.ue)}
        row[number] = [known.get(place.tobytes(), -1) for place in users.spots[outdoors].astype(np.float32)]
    rsrp = np.where(row >= 0, users.layers["rsrp"][:, outdoors], -np.inf)
    anybody = np.flatnonzero((row >= 0).any(0))
    if len(anybody) < 2 * LEAST:
        return None
    named = stand_ins(site.area, site.stations[0], ue[anybody], site.map, site.radio_of(0))
    learn, test = divide(named, Adaptation(split="blocks", seed=seed))
    return Heard(ue, row, rsrp, np.argsort(-rsrp, axis=0, kind="stable"), anybody[learn], anybody[test])


def _by_prints(
    heard: Heard, prints: list[NDArray[np.float32] | None], users: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Positions by the prints of each user's `count` strongest sectors, side by side; zeros where one is not heard."""
    out = np.zeros((len(users), 2))
    chosen = np.sort(heard.order[:count, users], axis=0)
    for some in np.unique(chosen, axis=1).T:
        of = np.flatnonzero((chosen == some[:, None]).all(0))

        def side_by_side(who: NDArray[np.int64], some: NDArray[np.int64] = some) -> NDArray[np.float32]:
            parts = []
            for number in some:
                one, row = prints[number], heard.row[number, who]
                assert one is not None
                parts.append(np.where((row >= 0)[:, None], one[row], np.float32(0)))
            return np.concatenate(parts, axis=1)

        # a print that is missing would be nearer than one that is unlike
        by_all = (heard.row[some][:, heard.learn] >= 0).all(0)
        linked = heard.learn[by_all if by_all.sum() >= NEIGHBOURS else heard.row[some][:, heard.learn].max(0) >= 0]
        near = KNeighborsRegressor(
            min(NEIGHBOURS, len(linked)), weights=lambda d: 1 / (d + 1e-6), algorithm="brute"
        ).fit(side_by_side(linked), heard.ue[linked, :2])
        out[of] = near.predict(side_by_side(users[of]))
    return out


def table(found: Mapping[str, Any]) -> Table:
    """Errors by the number of sectors."""
    head = [f"{n} sector{'s' if n > 1 else ''}" for n in range(1, found["sectors"] + 1)]
    rows = [
        [method, *(f"{one['median_m']:.1f} m ({one['cdf90_m']:.1f})" for one in columns)]
        for method, columns in found["errors"].items()
    ]
    return Table([f"position error of {found['users']} users, median (90 % under)", *head], rows)
