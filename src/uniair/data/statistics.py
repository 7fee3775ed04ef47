"""What a data set holds, and what in it physics rules out: links or drives, file by file in one pass.

The memory needed is a shard's, plus 8 bytes per link (to find links that are there twice) and the pictured areas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXAMPLES = 5  # named a finding
ABOVE_FREE_SPACE = 3.0  # dB; paths that a tracer merged add up
FARTHEST_UE = 1_000.0  # m from the BS of a drive
FINDINGS = {
    "shorter": "paths shorter than the straight line from BS to UE; check delays (s) and positions (m)",
    "los_length": "LOS paths longer than the straight line from BS to UE; check delays (s) and positions (m)",
    "los_flag": "links whose LOS flag contradicts the interactions of their paths",
    "bs_indoors": "links whose BS stands inside, or on, a building of the map; check the map's row order and unit",
    "ue_indoors": "links whose UE stands inside a building of the map; check the map's row order and unit",
    "above_free_space": f"paths over {ABOVE_FREE_SPACE:g} dB above free space over their own length; check the gains",
    "area_names": "areas with the name of another area that has another map, size or radio; give each its own number",
    "empty_areas": "areas without links",
    "twice": "links that are there twice (same area, BS, bearing and UE); leave the copies out",
    "unlisted": "files that the manifest does not list; delete them, or make the data set again",
    "drive_names": "drives with the name of another drive; leave the copies out",
    "far_ue": f"steps with the UE over {FARTHEST_UE:g} m from its BS; check the order of latitude and longitude",
    "made": "steps whose power a forecaster made: not counted here, nor learned from or measured against anywhere",
    "no_sensors": "drives whose folder of sensor files is gone; give read_drives their new root",
}


class Findings(dict[str, dict[str, Any]]):
    """Suspicious things that the contract allows: key of `FINDINGS` → what, count, and the first few examples."""

    def note(self, key: str, where: Iterable[str], count: int | None = None) -> None:
        """Adds things; `where` says where each is, `count` how many there are when `where` stops early."""
        some = list(where)
        if some:
            entry = self.setdefault(key, {"what": FINDINGS[key], "count": 0, "examples": []})
            entry["count"] += len(some) if count is None else count
            entry["examples"] += some[: EXAMPLES - len(entry["examples"])]

    def lines(self) -> list[str]:
        """For people, a line per finding."""
        return [
            f"{f['count']:,} {f['what']} ({', '.join(f['examples'])}{', …' if f['count'] > len(f['examples']) else ''})"
            for f in self.values()
        ]


class Distribution:
    """Histogram of a quantity, NLOS and LOS apart; values beyond the ends count in the end bins.

    Attributes:
        edges: [bins + 1].
        counts: int64 [2, bins], row 1 is LOS.
        total: float64 [2] sum of the values.
    """

    def __init__(self, edges: NDArray[np.float64]) -> None:
        self.edges, self.total = edges, np.zeros(2)
        self.counts = np.zeros((2, len(edges) - 1), dtype=np.int64)

    def bins(self, values: NDArray[np.floating]) -> NDArray[np.intp]:
        """The bin of each value."""
        return np.clip(np.searchsorted(self.edges, values, side="right") - 1, 0, len(self.edges) - 2)

    def add(self, values: NDArray[np.floating], los: NDArray[np.bool_]) -> None:
        """Counts values [N] of links with or without LOS [N]."""
        np.add.at(self.counts, (los.astype(int), self.bins(values)), 1)
        self.total += np.bincount(los, values, 2)

    def quantile(self, share: float, row: int | None = None) -> float:
        """The value that `share` of the links stay below, to a bin's width; NaN without links."""
        counts = self.counts.sum(0) if row is None else self.counts[row]
        cumulated = np.concatenate([[0], np.cumsum(counts)])
        if not cumulated[-1]:
            return float("nan")
        at = share * cumulated[-1]
        i = min(int(np.searchsorted(cumulated, at, side="right")) - 1, len(counts) - 1)
        return float(np.interp(at, cumulated[i : i + 2], self.edges[i : i + 2]))

    def as_json(self) -> dict[str, Any]:
        """Mean and quantiles of all links, and the medians with and without LOS."""
        links = int(self.counts.sum())
        quantiles = {f"p{round(100 * share)}": self.quantile(share) for share in (0.1, 0.5, 0.9)}
        medians = {"median_nlos": self.quantile(0.5, 0), "median_los": self.quantile(0.5, 1)}
        return rounded({"mean": float(self.total.sum()) / links if links else None, **quantiles, **medians})


def rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Five digits, which is what the histograms are good for; None for NaN, which JSON lacks."""
    return {k: None if v is None or np.isnan(v) else float(f"{v:.5g}") for k, v in values.items()}


def summary(values: Iterable[float]) -> dict[str, float | None]:
    """Mean, least, median and most; None without values."""
    array = np.array(list(values), dtype=np.float64)
    if not array.size:
        return dict.fromkeys(("mean", "min", "median", "max"))
    return rounded({"mean": array.mean(), "min": array.min(), "median": np.median(array), "max": array.max()})
