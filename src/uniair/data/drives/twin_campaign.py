"""The twin's drives on disk, in DeepSense's own layout: written drive by drive, resumed, summed up in a card."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.data.drives.drive import losses
from uniair.data.drives.step_paths import StepPaths
from uniair.data.drives.twin import Recording, Site, Twin, geodetic, record
from uniair.data.recipe import noted, traced_over_diagonals
from uniair.errors import InputError
from uniair.files import write_text
from uniair.progress import bar
from uniair.propagation.ray_tracing import check_materials, tracer

QUALITY = 90  # of the JPEGs
COLUMNS = (  # of scenario 9, and the label file of the blockage scenarios 17 to 22
    "index", "unit1_rgb", "unit1_pwr_60ghz", "unit1_loc", "unit1_blockage", "unit2_loc", "unit1_beam_index",
    "seq_index", "time_stamp[UTC]",
)  # fmt: skip
PATHS_COLUMN, TRUE_COLUMN = "unit1_paths", "unit2_loc_true"
FOLDERS = ("unit1/camera_data", "unit1/mmWave_data", "unit1/GPS_data", "unit1/label_data", "unit2/GPS_data")
ATTRIBUTION = {"munich": "Munich: map data © OpenStreetMap contributors, ODbL 1.0, as it comes with sionna-rt"}


def run(twin: Twin, out: Path) -> dict[str, Any]:
    """Makes the drives that `out` lacks and returns its card, as in `card.json`.

    A scenario's CSV names a drive once all its files are there. A run that was killed therefore goes on with the drive
    that it was at, and ends with the same bytes.

    Raises:
        InputError: `out` holds another twin, or something damaged; walls not defined at the carrier; sionna-rt or LLVM
            missing.
    """
    for material in (twin.ray_tracing.building_material, "metal"):  # of the vehicles
        check_materials(replace(twin.ray_tracing, building_material=material))
    made = _recipe(twin)
    other = "another twin (see recipe.json); give another --out, or the same settings"
    with noted(out, made, lambda found: traced_over_diagonals(found, made) or other, "scenario*/*.csv"):
        rows = _record(twin, out)
    card = _card(twin, out, made, rows)
    write_text(out / "card.json", json.dumps(card, indent=1) + "\n")
    return card


def _record(twin: Twin, out: Path) -> dict[int, list[dict[str, str]]]:
    """Records the drives that `out` lacks; the rows of each scenario's CSV."""
    for unfinished in out.rglob(".*.part"):
        unfinished.unlink()
    rows = {site.scenario: _rows(out, site, columns(twin)) for site in twin.sites}
    there = {scenario: len({row["seq_index"] for row in held}) for scenario, held in rows.items()}
    done = sum(min(count, twin.drives) for count in there.values())
    with bar(twin.drives * len(twin.sites), "drive", "tracing", done) as shown:
        for number in range(min(there.values()), twin.drives):
            for site in twin.sites:
                if there[site.scenario] > number:
                    continue
                held = rows[site.scenario]
                held += _write(out, twin, site, record(twin, site, number), number, len(held))
                write_text(_table(out, site), _as_csv(held, columns(twin)))
                shown.update()
    return rows


def columns(twin: Twin) -> tuple[str, ...]:
    """Of a scenario's CSV."""
    more = ((twin.paths, PATHS_COLUMN), (twin.true_positions, TRUE_COLUMN))
    return (*COLUMNS, *(name for kept, name in more if kept))


def _recipe(twin: Twin) -> dict[str, Any]:
    """What makes the bytes, as JSON: all settings but the number of drives, and the version of the tracer."""
    settings = asdict(twin)
    del settings["drives"]
    for name in ("paths", "true_positions"):  # a twin without them is what it was before they were kept
        if not settings[name]:
            del settings[name]
    for site in settings["sites"]:  # and so is a site where nothing is said of them
        for name in ("own_lanes", "heavy"):
            if not site[name]:
                del site[name]
    return json.loads(json.dumps({"twin": settings, "tracer": tracer(twin.ray_tracing)}))


def _table(out: Path, site: Site) -> Path:
    return out / f"scenario{site.scenario}" / f"scenario{site.scenario}.csv"


def _rows(out: Path, site: Site, expected: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of the drives that are whole."""
    path = _table(out, site)
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        rows = list(table)
    if tuple(table.fieldnames or ()) != expected or any(None in row or None in row.values() for row in rows):
        raise InputError(f"{path}: not a table that uniair twin wrote; delete its folder and run the command again")
    return rows


def _write(out: Path, twin: Twin, site: Site, recording: Recording, number: int, before: int) -> list[dict[str, str]]:
    """Writes the files of a drive and returns its rows; `before` steps precede it in the scenario."""
    from PIL import Image

    root = _table(out, site).parent
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    bs = "unit1/GPS_data/gps_location.txt"
    (root / bs).write_text(_lines(geodetic(site.antenna[:2], site.origin), "{:.8f}"), encoding="ascii")
    start = 8 * 3600 + 120 * number  # s of the day; two minutes from drive to drive
    rows = []
    for step in range(len(recording.ue)):
        index = before + step + 1
        picture, power = f"unit1/camera_data/image_{index}.jpg", f"unit1/mmWave_data/mmWave_power_{index}.txt"
        label, gps = f"unit1/label_data/label_{index}.txt", f"unit2/GPS_data/gps_location_{index}.txt"
        Image.fromarray(recording.pictures[step]).save(root / picture, quality=QUALITY)
        (root / power).write_text(_lines(recording.power[step], "{:.6e}"), encoding="ascii")
        (root / label).write_text(f"{int(not recording.los[step])}\n", encoding="ascii")
        (root / gps).write_text(_lines(recording.gps[step], "{:.8f}"), encoding="ascii")
        beam = int(np.argmax([float(f"{value:.6e}") for value in recording.power[step]]))  # as a reader will see it
        cells = (
            index, f"./{picture}", f"./{power}", f"./{bs}", f"./{label}", f"./{gps}", beam + 1, number + 1,
            _clock(start + step / twin.rate),
        )  # fmt: skip
        rows.append(dict(zip(COLUMNS, map(str, cells), strict=True)))
        if twin.paths:
            here = recording.paths.select(np.array([step]))
            held = StepPaths(here, twin.ray_tracing.frequency, site.boresight - np.pi / 2, recording.velocity[step])
            rows[-1][PATHS_COLUMN] = _paths(root, held, index)
        if twin.true_positions:
            bs_at = geodetic(site.antenna[:2], site.origin)
            there = geodetic(recording.ue[step, :2] - site.antenna[:2], (bs_at[0], bs_at[1]))
            rows[-1][TRUE_COLUMN] = f"./unit2/GPS_data/true_location_{index}.txt"
            (root / rows[-1][TRUE_COLUMN]).write_text(_lines(there, "{:.8f}"), encoding="ascii")
    return rows


def _paths(root: Path, held: StepPaths, index: int) -> str:
    """Writes the paths of a step and returns the cell; empty where none arrived."""
    if not held.paths.counts[0]:
        return ""
    (root / "unit1/paths_data").mkdir(parents=True, exist_ok=True)
    held.write(root / f"unit1/paths_data/paths_{index}.safetensors")
    return f"./unit1/paths_data/paths_{index}.safetensors"


def _lines(values: Iterable[float], style: str) -> str:
    return "".join(style.format(value) + "\n" for value in values)


def _clock(seconds: float) -> str:
    """As scenario 9 writes it: `['16-45-05-799']`."""
    milliseconds = round(seconds * 1000) % 86_400_000
    minutes, rest = divmod(milliseconds, 60_000)
    return f"['{minutes // 60:02d}-{minutes % 60:02d}-{rest // 1000:02d}-{rest % 1000:03d}']"


def _as_csv(rows: list[dict[str, str]], header: tuple[str, ...]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, header, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _card(twin: Twin, out: Path, recipe: dict[str, Any], rows: dict[int, list[dict[str, str]]]) -> dict[str, Any]:
    """What was made: counts, share of steps in LOS, how often sight is lost and how often each beam was the best, a
    scenario each.
    """
    scenarios = {}
    for site in twin.sites:
        held = rows[site.scenario]
        beams = np.array([int(row["unit1_beam_index"]) - 1 for row in held])
        blocked = _blocked(_table(out, site), held)
        scenarios[f"scenario{site.scenario}"] = {
            "scene": site.scene,
            "drives": len({row["seq_index"] for row in held}),
            "steps": len(held),
            "los_share": float(1 - blocked.mean()),
            "sight_lost": sum(losses(~one) for one in _by_drive(held, blocked)),
            "best_beam_histogram": np.bincount(beams, minlength=twin.beams).tolist(),
        }
    return {
        "what": "digital twin of DeepSense 6G by ray tracing: beam powers, GPS and camera"
        f"{', and paths' if twin.paths else ''}; nothing of it is measured",
        "seed": twin.seed,
        "scenarios": scenarios,
        "attribution": [ATTRIBUTION[s] for s in sorted({site.scene for site in twin.sites}) if s in ATTRIBUTION],
        **recipe,
    }


def _by_drive(rows: list[dict[str, str]], values: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Values of all rows, [rows], drive by drive."""
    number = np.array([int(row["seq_index"]) for row in rows])
    return [values[number == one] for one in np.unique(number)]


def _blocked(path: Path, rows: list[dict[str, str]]) -> NDArray[np.bool_]:
    """[rows] what the label files say."""
    try:
        labels = [int((path.parent / row["unit1_blockage"]).read_text(encoding="ascii")) for row in rows]
    except (KeyError, OSError, ValueError) as error:
        raise InputError(f"{path}: a blockage label is missing or damaged ({error}); make the twin again") from error
    return np.array(labels, dtype=bool)
