"""How fast links are traced, and what is lost against many more rays."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from uniair.data.links.campaign import Campaign, draw_crop, plan
from uniair.propagation.paths import Paths
from uniair.propagation.ray_tracing import RayTracing, require_sionna, trace

MORE_RAYS = 50  # times the default's, of the reference
LEAST = -30.0  # dB; a link that was not found counts as this much below the reference
DETECTABLE = (
    -140.0
)  # dB; weaker links drown in noise: 30 dBm over 46 MHz at a noise figure of 9 dB ends at about −120 dB


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    what: str
    ray_tracing: RayTracing


SETTINGS = (
    Setting("Sionna RT's own search, 20,000 rays", RayTracing(samples=20_000, probe_users=0)),
    Setting("Sionna RT's own search, 40,000 rays", RayTracing(samples=40_000, probe_users=0)),
    Setting("Sionna RT's own search, 200,000 rays", RayTracing(samples=200_000, probe_users=0)),
    Setting("shared chains, 40,000 rays", RayTracing(samples=40_000)),
    Setting("shared chains, 100,000 rays (the default)", RayTracing()),
)


def tracing_speed(campaign: Campaign) -> dict[str, Any]:
    """Traces the campaign's areas with every setting, one after the other in one run.

    The reference has `MORE_RAYS` times the default's rays from one BS at a time; where a setting finds more power than
    it (rays are drawn at random), the setting's counts as the truth.

    Returns:
        Of each setting: links/s and paths found; the share of links lost; and of the NLOS links that a receiver could
        detect (`DETECTABLE`) the share lost, the mean loss of power, dB, and the share that lost more than 3 dB.
    """
    drawn = []
    for place, number in plan(campaign):
        area, rng = draw_crop(campaign, place, number)
        bs = area.drop(campaign.bs, campaign.bs_height, rng)
        drawn.append((area, bs, area.drop(campaign.ue, campaign.ue_height, rng)))
    truth_setting = replace(RayTracing(), samples=MORE_RAYS * RayTracing().samples, paths=10_000)
    truth = [
        Paths.concatenate([trace(area, bs[i : i + 1], ue, truth_setting) for i in range(len(bs))])
        for area, bs, ue in drawn
    ]
    found: dict[str, list[Paths]] = {}
    seconds: dict[str, float] = {}
    for setting in SETTINGS:
        config = replace(setting.ray_tracing, paths=10_000)
        trace(*drawn[0], config)  # the kernels are compiled, or fetched, before the clock starts
        start = time.perf_counter()
        found[setting.what] = [trace(area, bs, ue, config) for area, bs, ue in drawn]
        seconds[setting.what] = time.perf_counter() - start
    power = {what: np.concatenate([p.power() for p in paths]) for what, paths in found.items()}
    best = np.max([np.concatenate([p.power() for p in truth]), *power.values()], axis=0)
    there = best > 0
    nlos = (best > 10 ** (DETECTABLE / 10)) & ~np.concatenate([p.los() for p in truth])
    rows = {}
    for what, paths in found.items():
        with np.errstate(divide="ignore"):
            loss = np.maximum(10 * np.log10(power[what][nlos] / best[nlos]), LEAST)
        rows[what] = {
            "links_per_s": float(there.sum() / seconds[what]),
            "paths": int(sum(len(p.gain) for p in paths)),
            "lost_links": float(np.mean(power[what][there] == 0)),
            "nlos_lost_links": float(np.mean(power[what][nlos] == 0)),
            "nlos_loss_db": float(-loss.mean()),
            "nlos_over_3_db": float(np.mean(loss < -3)),
        }
    return {"areas": len(drawn), "links": int(there.sum()), "nlos": int(nlos.sum()), "settings": rows}


def run(
    places: tuple[str, ...] = ("sionna:munich", "sionna:etoile", "procedural:7"),
    root: str = ".",
    areas: int = 6,
    seed: int = 0,
) -> dict[str, Any]:
    """Measures and prints.

    Args:
        places: where, as for uniair trace.
        root: folder that file names in places start from.
        areas: how many.
        seed: of the areas.
    """
    require_sionna()
    found = tracing_speed(Campaign(places, root, areas, seed=seed))
    detectable = f"{found['nlos']:,} NLOS with less than {-DETECTABLE:.0f} dB of path loss"
    print(f"{found['links']:,} links in {found['areas']} areas of 5 BS × 30 UE, {detectable}")
    print(
        f"{'':42}{'links/s':>8}{'paths':>9}{'lost':>8}   {'of those NLOS: lost':>20}{'power lost':>12}{'over 3 dB':>11}"
    )
    for what, row in found["settings"].items():
        print(f"{what:42}{row['links_per_s']:8,.0f}{row['paths']:9,}{row['lost_links']:8.1%}   "
              f"{row['nlos_lost_links']:20.1%}{row['nlos_loss_db']:9.2f} dB{row['nlos_over_3_db']:11.1%}")  # fmt: skip
    return found
