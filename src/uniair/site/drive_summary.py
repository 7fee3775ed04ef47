"""What a drive test says about a plan, for people and as JSON: residuals as planned and calibrated, offsets, walls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from uniair.evaluation.tables import Table
from uniair.site import calibration
from uniair.site.calibration import CHANCE, LEARNED, LEAST, TESTED, DriveTest, errors, rounded
from uniair.site.drive_log import SPOT

STATES = {"planned": "as planned", "calibrated": "calibrated"}
ODD = 20.0  # dB of an offset that is more likely a wrong cell, power or unit than cables and patterns


def summary(test: DriveTest) -> dict[str, Any]:
    """The figures as plain JSON; residuals are measured less predicted, of the tested half."""
    log, walls = test.log, test.walls
    before, after = test.residuals(TESTED)
    traced = test.half >= 0
    lost = np.isnan(test.planned) & log.measured & traced
    learned = np.isfinite(test.residuals(LEARNED)[0]).sum(1)
    sectors = []
    for i, name in enumerate(test.names):
        known = np.isfinite(test.offsets[i])
        sectors.append({
            "sector": name, "measured": int(log.measured[i].sum()), "learned": int(learned[i]),
            "offset_db": rounded(test.offsets[i]) if known else None,
            "offset_error_db": None if (error := test.offset_errors[i]) is None else rounded(error),
            "offset_bound_db": None if (least := test.offset_bounds[i]) is None else rounded(least),
            "planned": errors(before[i]), "calibrated": errors(after[i]),
        })  # fmt: skip
    return {
        "log": log.name, "rows": log.given, "rows_used": int(log.rows.sum()), "left_out": dict(log.left_out),
        "remarks": list(log.remarks), "spot_m": SPOT, "spots": len(log), "measured": int(log.measured.sum()),
        "halves": {
            "block_m": calibration.BLOCK, "apart_m": calibration.APART,
            **{name: int((test.half == half).sum()) for half, name in calibration.HALVES.items()},
        },
        "unreached": {
            "count": int(lost.sum()),
            "median_measured_dbm": rounded(np.median(log.rsrp[lost])) if lost.any() else None,
        },
        "walls": {
            "planned": walls.planned, "chosen": walls.chosen, "best": walls.best, "chance": rounded(walls.chance, 4),
            "spots": walls.spots, "blocks": walls.blocks,
            "tried": [
                {"material": one.material, "spread_db": rounded(one.spread, 3), "chance": rounded(one.chance, 4)}
                for one in walls.candidates
            ],
        },
        "sectors": sectors, "planned": errors(before), "calibrated": errors(after),
    }  # fmt: skip


def lines(found: Mapping[str, Any]) -> list[str]:
    """The figures in plain sentences, but for what `table` has."""
    halves, lost = found["halves"], found["unreached"]
    left = "".join(f", {count:,} {reason}" for reason, count in found["left_out"].items())
    out = [
        f"{found['rows_used']:,} of {found['rows']:,} rows of {found['log']} in {found['spots']:,} spots of "
        f"{found['spot_m']:g} m" + (f"; left out: {left[2:]}" if left else ""),
        *found["remarks"],
    ]
    said = f"{halves['learned']:,} spots learned from and {halves['tested']:,} tested on, in other blocks of "
    said += f"{halves['block_m']:g} m and {halves['apart_m']:g} m apart"
    said += f"; {halves['between']:,} lie between them" if halves["between"] else ""
    out.append(said + (f"; {halves['more']:,} more are not traced" if halves["more"] else ""))
    if lost["count"]:
        out.append(
            f"no path reaches {lost['count']:,} measurements, {lost['median_measured_dbm']:.1f} dBm in the middle"
        )
    out.append(_walls(found["walls"]))
    if absent := [one["sector"] for one in found["sectors"] if not one["measured"]]:
        out.append(f"not measured, and as planned: {', '.join(absent)}")
    for one in found["sectors"]:
        offset = one["offset_db"]
        if not one["measured"]:
            continue
        if offset is None:
            out.append(
                f"{one['sector']} is not calibrated: {one['learned']:,} spots to learn from and "
                f"{one['planned']['count']:,} to test on that paths reach, at least {LEAST} of each are wanted"
            )
        elif abs(offset) > ODD:
            out.append(
                f"{one['sector']}: an offset of {_tenths(offset, '+')} dB is more than cables and patterns make; look "
                "at its power, its PCI and the log's units"
            )
    before, after = (found[name]["median_absolute_db"] for name in ("planned", "calibrated"))
    if before is not None and after >= before and any(one["offset_db"] is not None for one in found["sectors"]):
        out.append(
            f"calibration did not help on the tested half: median absolute error {after:.1f} dB, as planned "
            f"{before:.1f} dB"
        )
    return out


def _walls(found: Mapping[str, Any]) -> str:
    """What was found out about the walls."""
    planned, chosen, best = found["planned"], found["chosen"], found["best"]
    spread = {one["material"]: one["spread_db"] for one in found["tried"]}
    where = f"over {found['spots']:,} measurements in {found['blocks']:,} blocks"
    if not found["spots"]:
        return f"walls: {planned}, as planned; paths reach too few measurements to compare others"
    if len(spread) < 2:
        return f"walls: {planned}, as planned; no other was tried"
    if best == planned:
        return f"walls: {planned}, as planned, fits best {where}: spread {spread[planned]:.2f} dB"
    lead = f"spread {spread[best]:.2f} dB instead of {spread[planned]:.2f} dB {where}"
    if chosen == planned:
        no_more = f"{best} fits better by no more than chance (p = {found['chance']:.2g})"
        return f"walls: {planned}, as planned; {no_more}: {lead}"
    like = [one["material"] for one in found["tried"] if one["material"] != chosen and one["chance"] > CHANCE]
    apart = f"; {' and '.join(like)} can't be told from it" if like else ""
    return f"walls: {chosen} instead of {planned} (p = {found['chance']:.2g}): {lead}{apart}"


def table(found: Mapping[str, Any]) -> Table:
    """Residuals of the tested half, each sector as planned and calibrated."""
    head = ("measured less predicted, dB", "offset", "spots", "mean", "deviation", "median absolute", "90 % within",
            "within 6 dB")  # fmt: skip
    rows = []
    for one in [*found["sectors"], {"sector": "all", "offset_db": None, **{state: found[state] for state in STATES}}]:
        for state, name in STATES.items():
            figures, offset = one[state], ""
            if not figures["count"]:
                continue
            if state == "calibrated" and one["offset_db"] is not None:
                error = one["offset_error_db"]
                offset = _tenths(one["offset_db"], "+") + ("" if error is None else f" ± {_tenths(error)}")
            decibels = ("mean_db", "deviation_db", "median_absolute_db", "absolute_90_db")
            values = [*(_tenths(figures[key]) for key in decibels), f"{100 * figures['within_6_db']:.0f} %"]
            rows.append([f"{one['sector']}, {name}", offset, f"{figures['count']:,}", *values])
    return Table(head, rows)


def _tenths(value: float, sign: str = "") -> str:
    """Decibels with one digit, and no negative zero."""
    return f"{rounded(value, 1):{sign}.1f}"
