"""Answers as they look, for the API's description: the numbers are made up, the forms are tested against real ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from uniair.radio import Radio
from uniair.tasks.task import Task

WITHIN = {"radio": "in range", "mast": "in range", "users": "in range", "side": "in range", "clutter": "unknown"}
ABOUT = {"radio": str(Radio()), "within": WITHIN, "remarks": []}
RAYS = {
    "rays": [
        {"points": [[75.0, 60.0, 25.0], [120.0, 40.0, 1.5]], "gain_db": -78.31, "delay_ns": 182.2, "events": []},
        {"points": [[75.0, 60.0, 25.0], [130.0, 52.0, 8.2], [120.0, 40.0, 1.5]], "gain_db": -90.04,
         "delay_ns": 246.9, "events": ["reflected"]},
    ],
    "not_drawn": 0,
}  # fmt: skip
SECTOR = {
    "sector": "K1-1", "site": "K1", "azimuth_deg": 0.0, "mechanical_tilt_deg": 2.0, "electrical_tilt_deg": 6.0,
    "power_dbm": 46.0, "carrier_mhz": 3500.0, "bandwidth_mhz": 100.0, "spacing_khz": 30.0, "rows": 8, "columns": 8,
    "polarisation": "slanted", "vertical_spacing": 0.5, "horizontal_spacing": 0.5, "pattern": "tr38901", "pci": 1,
    "number": 0, "x_m": 75.0, "y_m": 60.0, "height_m": 25.0, "colour": "#0072b2", "reached": 55, "best_server": 21,
    "los": 9, "median_rsrp_dbm": -88.4,
}  # fmt: skip
RECEIVED = {
    "sector": "K1-1", "rsrp_dbm": -81.2, "path_loss_db": 92.3, "los": True, "delay_spread_ns": 21.4,
    "departure_spread_deg": 4.1, "arrival_spread_deg": 31.7, "first_delay_ns": 182.2, "beam": 0, "beam_gain_db": 15.2,
}  # fmt: skip
GET: dict[str, dict[str, Any]] = {
    "/health": {"status": "ok"},
    "/ready": {"ready": True},
    "/learning": {
        "answers": "learned", "begun": "0123456789abcdef", "answering": "123456789abcdef0", "steps": 2400,
        "measured": 2396, "windows": 2180, "unscored": 96, "promotions": 1, "rollbacks": 0, "restarts": 0,
        "updates": 119, "level": 0.05, "evidence": {"promotion": 1.8, "rollback": 1.0}, "behind": [0, 2, 5],
        "all": {"steps": 2400, "seconds": 240.0, "scored": [2276, 2244, 2212],
                "top1": {"begun": [0.33, 0.26, 0.2], "answering": [0.41, 0.35, 0.3], "shadow": [0.44, 0.39, 0.33]}},
        "recent": {"steps": 500, "seconds": 50.0, "scored": [476, 471, 466],
                   "top1": {"begun": [0.33, 0.26, 0.2], "answering": [0.46, 0.41, 0.35],
                            "shadow": [0.47, 0.41, 0.36]}},
        "waiting": 0, "dropped": 0, "fault": "",
    },
    "/site": {
        "name": "krems", "size": 150.0, "attribution": "(c) OpenStreetMap contributors, ODbL 1.0",
        "georeference": {"longitude": 15.6, "latitude": 48.4, "corner": [-75.0, -75.0]},
        "corners_deg": [[15.599, 48.3993], [15.601, 48.3993], [15.599, 48.4007], [15.601, 48.4007]],
        "model": "small", "radio": Radio().to_json(), "radio_text": str(Radio()),
        "remarks": [],
        "stations": [{
            "name": "bs0", "x": 75.0, "y": 60.0, "height": 6.0, "bearing": 0.0, "downtilt": 0.0,
            "radio_text": str(Radio()), "beams": {"cosines": [0.0, 0.0625], "cyclic": True}, "within": WITHIN,
            "remarks": [],
        }],
        "tasks": {"path_loss": {
            "inputs": ["environment"], "about": "path loss", "title": "Path loss", "unit": "dB",
            "example": "How large is the path loss?", "metrics": [{"key": "rmse", "name": "RMSE", "unit": "dB",
                                                                   "scale": 1.0, "digits": 2}],
            "column": "path_loss_db", "classes": None,
        }},
        "figures": {"bs0": {"path_loss": {"environment": {"rmse": 8.1}}}}, "assistant": True, "forecaster": True,
        "coverage": True, "calibrated": False, "plan": False,
        "feedback": [{"code": "0123456789abcdef", "longest": 512, "tuned": True,
                      "beside": ["map", "map and position"]}],
    },
    "/site/buildings": {
        "buildings": [{"id": 0, "outline": [[8.0, 8.0], [30.0, 8.0], [30.0, 24.0], [8.0, 24.0]], "holes": [],
                       "height": 9.0}],
        "streets": [{"name": "Main Street", "kind": "major", "line": [[0.0, 40.0], [150.0, 44.0]]}],
    },
    "/site/links": {"ue": [[120.0, 40.0, 1.5]], "los": [True], "beam": [12], "path_loss_db": [92.3], "tested": [True]},
    "/site/links/{station}/{link}": {
        "ue": [120.0, 40.0, 1.5], "los": True, "beam": 12, "path_loss_db": 92.3, "csi_db": [[-12.3, 0.0]],
        "truth": {"x_m": 120.0, "y_m": 40.0, "los": True, "beam": 12, "path_loss_db": 92.3, "first_path_ns": 182.2,
                  "direct_ns": 182.2, "distance_m": 54.6, "paths": 2, "tested": True},
        "paths": [{"cosine": 0.82, "delay_ns": 182.2, "gain_db": 0.0}],
        "read": [{"cosine": 0.81, "delay_ns": 184.0, "gain_db": 0.0}], **RAYS,
    },
    "/coverage": {
        "sectors": [SECTOR],
        "layers": [{"name": "rsrp", "title": "RSRP", "unit": "dBm", "edges": [-110.0, -90.0],
                    "colours": ["#46085c", "#21918c", "#fde725"],
                    "texts": ["below −110", "−110 to −90", "−90 and more"]}],
        "drive_test": {"log": "log.csv", "calibrated": True, "lines": ["walls: wood instead of concrete (p = 0.0005)"],
                       "name": "residual", "title": "measured less predicted", "unit": "dB", "edges": [-3.0, 3.0],
                       "colours": ["#b35806", "#f7f7f7", "#542788"], "texts": ["below −3", "−3 to 3", "3 and more"]},
        "hole_dbm": -110.0, "load": 0.5, "lines": ["60 users outdoors: 1.7 % below -110 dBm"],
        "users": {"outdoors": 60, "indoors": 0},
        "cells": {"side": 5.0, "rows": 30, "columns": 30, "corner": [0.0, 0.0]}, "files": ["coverage.tif", "users.csv"],
        "limits": ["Traced over flat ground with one wall material, no trees, cars or people."],
    },
    "/coverage/users": {"ue": [[120.0, 40.0, 1.5]], "floor": [-1], "best": [0], "rsrp": [-81.2], "sinr": [22.4],
                        "throughput": [431.9]},
    "/coverage/users/{user}": {"user": 0, "ue": [120.0, 40.0, 1.5], "floor": -1, "best_server": "K1-1",
                               "sectors": [RECEIVED], "sinr_db": 22.4, "throughput_mbps": 431.9},
    "/coverage/map": {"layer": "rsrp", "values": [[-84.1, None], [-86.0, -91.5]]},
    "/coverage/drive_test": {"log": "log.csv", "spot": [0], "place": [[118.2, 40.3, 1.5]], "sector": [0],
                             "half": ["tested"], "rows": [4], "measured": [-83.1], "planned": [-79.0],
                             "calibrated": [-82.6]},
    "/coverage/rays": {"user": 0, "ue": [120.0, 40.0, 1.5], "spot": [120.0, 40.0, 1.5], "sector": "K1-1", **RAYS},
}  # fmt: skip
MESSAGE = {"bits": ["9f12c40be07a61d2385ce914"], "length": 96, "code": "0123456789abcdef"}
POST: dict[str, dict[str, Any]] = {
    "/encode": {"embedding": [[0.0884] * 128], **ABOUT},
    "/los": {"probability_of_los": [0.97], **ABOUT},
    "/rank": {"probability": [[0.91, 0.09]], **ABOUT},
    "/likelihood": {"x": [5.0, 15.0], "y": [5.0, 15.0], "log10": [[-1.2, None], [0.0, -0.4]], "best": [5.0, 15.0],
                    "sets": None, **ABOUT},
    "/explain": {
        "sentence": "The straight line, 54.6 m at a direction cosine of +0.82, carries 91 % (+6.2 nats); a reflection "
                    "off building 3 44 m north of the user, 74.0 m at a direction cosine of +0.55, carries 8 % (+1.1 "
                    "nats).",
        "los": 0.98, "explained_share": 0.99, "fitted_share": 0.97,
        "doubt": {"wrong": 0.03, "in_range": True,
                  "signals": {"certainty": 3.89, "restored": -11.2, "fit": 0.74, "outside": 0.0},
                  "los_sets": {"0.8": ["LOS"], "0.9": ["LOS"], "0.95": ["LOS"]},
                  "beam_sets": {"0.8": [13], "0.9": [12, 13], "0.95": [12, 13, 14]}},
        "paths": [{"along": 0.82, "up": 0.0, "length_m": 54.6, "share": 0.91, "explained_by": 0,
                   "effect": {"place": 6.2, "los": 4.1}, "azimuths_rad": [0.609, -0.609]},
                  {"along": 0.55, "up": 0.0, "length_m": 74.0, "share": 0.08, "explained_by": 1,
                   "effect": {"place": 1.1, "los": -0.2}, "azimuths_rad": [0.988, -0.988]}],
        "candidates": [{"kind": "", "along": 0.82, "up": -0.08, "length": 54.6, "loss": 34.7, "points": [],
                        "buildings": [], "effect": {"place": 5.3, "los": 3.2}, "line": [[75.0, 60.0], [120.0, 40.0]],
                        "whole": True},
                       {"kind": "R", "along": 0.55, "up": -0.06, "length": 74.0, "loss": 45.4,
                        "points": [[108.0, 82.0]], "buildings": [3], "effect": {"place": 0.9, "los": 0.1},
                        "line": [[75.0, 60.0], [108.0, 82.0], [120.0, 40.0]], "whole": True}],
        "missing": [], "buildings": [{"building": 3, "place": 1.0, "los": 0.2}],
        "together": {"place": 7.9, "los": 3.0}, **ABOUT,
    },
    "/audit": {
        "channels": 20, "links": 300, "explained_share": 0.83,
        "suspicions": [{"change": "not there", "building": 3, "place_m": [103.0, 88.0], "nats": 14.2, "channels": 5,
                        "sentence": "building 3 at (103, 88) m is not there, or lower: 14.2 nats by 5 channels"}],
        "rates": {"line_free": 0.98, "line_blocked": 0.03, "reflection_said": 0.6, "reflection_other": 0.2},
        "calibrated": False, "cell": 4.0, "contradicted": [[None, 2.1], [None, None]], **ABOUT,
    },
    "/ask": {"task": "position", "text": "The user stands at (75.1, 39.6) m.", "answers": [{"x_m": 75.1, "y_m": 39.6}],
             **ABOUT},
    "/feedback/encode": {**MESSAGE, **ABOUT},
    "/feedback/decode": {"csi": {"real": [[[1.0] * 64] * 32], "imag": [[[0.0] * 64] * 32]}, **ABOUT},
    "/complete": {"csi": {"real": [[[1.0] * 64] * 32], "imag": [[[0.0] * 64] * 32]}, **ABOUT},
    "/forecast": {"beams": [12, 12, 13], "probability": [0.81, 0.74, 0.52],
                  "probabilities": [[0.19, 0.81], [0.26, 0.74], [0.48, 0.52]], "begins": False},
}  # fmt: skip


def comb() -> list[list[bool]]:
    """Pilots on every fourth of 64 subcarriers, at 32 antennas."""
    return [[tone % 4 == 0 for tone in range(64)]] * 32


def of_task(task: Task) -> dict[str, Any]:
    """What a light head of a task answers: the task's own answer to outputs that are one number after the other."""
    outputs = torch.linspace(-1.0, 1.0, task.outputs)[None]
    answer = task.answer(outputs)
    records = answer.in_site(lambda plan: plan.astype(np.float64), 0.0).records()
    if "environment" in task.inputs:
        for record in records:
            record["outdoors"] = True
    return {"answers": records, "text": str(answer), "method": "head", **ABOUT}
