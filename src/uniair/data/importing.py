"""Public data sets → shards on disk, in the form that campaigns have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from importlib import import_module
from inspect import Parameter, signature
from itertools import groupby
from pathlib import Path
from typing import Any

from uniair.data.drives.drive import FORMAT as DRIVES_FORMAT
from uniair.data.drives.drive import Drive, write_drives
from uniair.data.import_report import ImportReport
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.files import sha256, write_text
from uniair.progress import track
from uniair.propagation.ray_tracing import RayTracing
from uniair.radio import Radio

# name → module under uniair.data, and what the data's licence asks for
READERS = {
    "wair-d": (
        "links.wair_d",
        "WAIR-D, Huangfu et al., arXiv 2212.02159; see its licence before you share what you make",
    ),
    "deepmimo": ("links.deepmimo", "DeepMIMO, A. Alkhateeb, ITA 2019; CC BY-NC-SA 4.0: non-commercial, share alike"),
    "deepsense": (
        "drives.deepsense",
        "DeepSense 6G, Alkhateeb et al., 2023; CC BY-NC-SA 4.0: non-commercial",
    ),
    "twin": ("drives.deepsense", "traced by uniair twin; Munich: map data (c) OpenStreetMap contributors, ODbL 1.0"),
    "sionna": ("links.sionna", "traced in a scene of the user's own"),
}
DRIVES = ("deepsense", "twin")  # those of drives; the others are of links
LINKS_PER_SHARD = 20_000


def reader(name: str) -> Any:
    """The `read` function of a data set.

    Raises:
        InputError: no such data set.
    """
    if name not in READERS:
        raise InputError(f"import: no reader {name!r}; choose one of {', '.join(READERS)}")
    return import_module(f"uniair.data.{READERS[name][0]}").read


def import_data(name: str, source: str | Path, out: str | Path, **options: Any) -> dict[str, Any]:
    """Reads a public data set into `out`, shard by shard, and returns the manifest with the reader's report.

    The folder appears when all of it is there: a run that fails or is killed leaves nothing behind but a hidden folder,
    which the next one clears.

    Args:
        name: `wair-d`, `deepmimo`, `deepsense`, `twin` or `sionna`.
        source: file or folder of the data set.
        options: the reader's own, see its `read`; a `radio` may be a `Radio`, or some of its entries.

    Raises:
        InputError: no such reader or option, `out` exists, the source is broken or holds nothing to use.
    """
    if not Path(out).name:
        raise InputError(f"{out}: give a folder to make, not the one you are in")
    if isinstance(options.get("radio"), Radio):
        options["radio"] = options["radio"].to_json()
    read, out = reader(name), Path(out).resolve()  # a link stays, the folder that it leads to is made
    parameters = signature(read).parameters
    known = [parameter for parameter in parameters if parameter not in ("source", "report")]
    if unknown := sorted(set(options) - set(known)):
        raise InputError(f"import {name}: no option {', '.join(unknown)}; it has {', '.join(known)}")
    if missing := [p for p in known if parameters[p].default is Parameter.empty and p not in options]:
        raise InputError(f"import {name}: needs {' and '.join(missing)}; see uniair import --help")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out}: exists already; give another --out, or delete it first")
    unfinished = out.with_name(f".{out.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    report = ImportReport()
    found = read(source if name == "sionna" else Path(source), report, **options)
    try:
        write = _write_drives if name in DRIVES else _write_links
        count = write(unfinished, track(found, "chunk"))
        if not count:
            reasons = "; ".join(f"{n:,} × {reason}" for reason, n in report.left_out.items()) or "it holds no data"
            raise InputError(f"{source}: nothing to import ({reasons})")
        plain = {k: asdict(v) if isinstance(v, RayTracing) else v for k, v in options.items()}
        recipe = json.loads(
            json.dumps({"import": name, "source": Path(source).absolute().name, "options": plain}, default=str)
        )
        licence = READERS[name][1]
        if name in DRIVES:
            manifest = _drives_manifest(unfinished, recipe, licence, report)
        else:
            manifest = shards.write_manifest(unfinished, recipe, licence, report.as_json())
        if out.exists():
            out.rmdir()
        unfinished.replace(out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return manifest


def _write_links(folder: Path, found: Iterable[Links]) -> int:
    """Gathers chunks into shards; returns the number of links."""
    parts: list[Links] = []
    shard = total = 0

    def flush() -> None:
        nonlocal shard
        shards.write_shard(folder / f"links-{shard:05d}.safetensors", Links.concatenate(parts).merged())
        parts.clear()
        shard += 1

    for links in found:
        if parts and links.maps.shape[-1] != parts[0].maps.shape[-1]:
            flush()
        parts.append(links)
        total += len(links)
        if sum(map(len, parts)) >= LINKS_PER_SHARD:
            flush()
    if parts and total:
        flush()
    return total


def _write_drives(folder: Path, found: Iterable[Drive]) -> int:
    """One file per scenario; returns the number of drives."""
    total = 0
    for scenario, drives in groupby(found, key=lambda drive: drive.scenario):
        kept = list(drives)
        path = folder / f"drives-{scenario}.safetensors"
        if path.exists():
            raise InputError(f"{scenario}: its drives are not one after the other; import the scenario on its own")
        write_drives(path, kept)
        total += len(kept)
    return total


def _drives_manifest(folder: Path, recipe: dict[str, Any], licence: str, report: ImportReport) -> dict[str, Any]:
    files = [{"file": f.name, "sha256": sha256(f)} for f in sorted(folder.glob("drives-*.safetensors"))]
    manifest = {
        "format": DRIVES_FORMAT, "attribution": licence, "recipe": recipe, "account": report.as_json(), "files": files,
    }  # fmt: skip
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    return manifest
