"""What can be published for nodes: folders and files that the library wrote, read before anybody signs them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import uniair
from uniair.edge.export import CARD
from uniair.errors import InputError
from uniair.explanation.calibrated import FILE as CALIBRATION
from uniair.files import sha256
from uniair.radio import Radio
from uniair.releases.node import PACKAGE, located
from uniair.releases.release import Artefact, Release
from uniair.site.site import NOTE, Site
from uniair.tasks.registry import TASKS
from uniair.training.checkpoint import CONFIG, WEIGHTS, digest, read_header, read_tensors
from uniair.training.feedback_adaptation import FORMAT as FEEDBACK
from uniair.training.feedback_adaptation import load_feedback
from uniair.training.forecasting import load_forecaster
from uniair.training.heads import load_head
from uniair.training.instruction import ROUTER


def describe(given: str, model: str | None = None) -> Artefact:
    """What lies in a folder or a file, read as a node would read it.

    Args:
        given: a packaged model's name; a checkpoint, forecaster, instruct or site folder, an edge package, or a head's
            file.
        model: the universal model that a head goes with, or that a forecaster reads CSI through; no other kind takes
            one.

    Raises:
        InputError: nothing of these, broken, or not of this model.
    """
    path = located(given)[0]
    packaged = PACKAGE / "weights" / given
    if not path.exists() and "/" not in given and packaged.is_dir():
        path = packaged
    if path.is_file():
        return _head(path, model)
    if not path.is_dir():
        raise InputError(f"{given}: neither a packaged model nor a folder or file; give what is to be published")
    if (path / NOTE).is_file():
        found = _site(path)
    elif str(_json(path / CARD).get("format", "")).startswith("uniair-edge/"):
        found = _edge(path, _json(path / CARD))
    elif (path / CONFIG).is_file():
        config = _json(path / CONFIG)
        if str(config.get("format", "")).startswith("uniair-instruct/"):
            found = _instruct(path, config)
        elif "modalities" in config:
            return _forecaster(path, config, model)
        else:
            found = _model(path)
    else:
        raise InputError(
            f"{path}: holds nothing that can be published; give a folder of uniair pretrain, forecast train, instruct "
            "train, site or export, or a head's file"
        )
    if model is not None:
        raise InputError(f"--model {model}: {path} says itself which model it goes with; leave it out")
    return found


def check(release: Release, folder: Path, model: str | None = None) -> None:
    """Raises `InputError` where the files of a release are not what it says they are."""
    name = next((name for name in release.files if name.endswith(".safetensors")), "")
    found = describe(str(folder / name if release.kind == "head" else folder), model)
    for what in ("kind", "weights", "radio"):
        said, there = getattr(release, what), getattr(found, what)
        if said != there:
            raise InputError(
                f"{release}: is signed as of {what} {said}, but its files are of {there}; nothing was applied"
            )


def _model(path: Path) -> Artefact:
    model = uniair.load(str(path))
    uniair.load_calibration(str(path), model)
    preset, parameters = model.preset, sum(p.numel() for p in model.parameters())
    radios = "any radio" if preset.radios == "any" else str(model.radio)
    return Artefact(
        "model", digest(model), _plain(model.radio), f"{preset.name}, {parameters / 1e6:.1f} M parameters, {radios}",
        _files(path, (CONFIG, WEIGHTS), (CARD, CALIBRATION)),
    )  # fmt: skip


def _forecaster(path: Path, config: dict[str, Any], model: str | None) -> Artefact:
    reads_csi = "csi" in config["modalities"]
    if (model is None) == reads_csi:
        raise InputError(
            f"{path}: a forecaster that reads CSI; give the model that it reads it through as --model" if reads_csi else
            f"--model {model}: {path} is a forecaster that reads no CSI; leave it out"
        )  # fmt: skip
    found = load_forecaster(path, None if model is None else partial(uniair.load, model))
    says = f"{', '.join(found.preset.modalities)}; {found.preset.beams} beams, {found.preset.future} steps ahead"
    return Artefact("forecaster", str(config.get("tower", "")), None, says, _files(path, (CONFIG, WEIGHTS), (CARD,)))


def _instruct(path: Path, config: dict[str, Any]) -> Artefact:
    """Without its language model, which it needs on a node and which is not published with it."""
    try:
        weights, backbone = config["about"]["towers"], config["design"]["backbone"]
        tasks = [*config["tasks"], *(task["name"] for task in config.get("added", ()))]
        says = f"{', '.join(map(str, tasks))}; reads with {backbone}"
    except (KeyError, TypeError) as error:
        raise InputError(f"{path / CONFIG}: not an instruct model's config ({error!r})") from error
    if odd := [name for name, values in read_tensors(path / WEIGHTS).items() if not values.isfinite().all()]:
        raise InputError(f"{path / WEIGHTS}: {odd[0]} holds NaN or infinite values; it is damaged")
    return Artefact("instruct", str(weights), None, says, _files(path, (CONFIG, WEIGHTS), (ROUTER, CARD)))


def _head(path: Path, name: str | None) -> Artefact:
    header = read_header(path, "give a head of uniair adapt") if path.suffix == ".safetensors" else {}
    task, coded = str(header.get("task")), header.get("format") == FEEDBACK
    if task not in TASKS and not coded:
        raise InputError(f"{path}: not a head of uniair adapt")
    if name is None:
        raise InputError(f"{path}: a head fits one model's weights; give them as --model")
    model = uniair.load(name)
    if coded:
        code = load_feedback(path, model)
        radio, says = code.radio, f"CSI feedback in up to {code.code.longest} bits"
    else:
        found = load_head(path, model, task)
        radio, says = found.radio, f"{TASKS[task].on(found.radio).about}, from {found.inputs}"
    names = (path.name, *([path.with_suffix(".json").name] if path.with_suffix(".json").is_file() else ()))
    return Artefact("head", digest(model), _plain(radio), says, {name: path.parent / name for name in names})


def _site(path: Path) -> Artefact:
    site = Site.read(path)
    heads = 0
    if site.weights:
        model = uniair.load(site.model)
        site.require_weights(digest(model))
        for station in range(len(site.stations)):
            for (task, _), file in site.heads(station).items():
                load_head(file, model, task)
                heads += 1
    says = f"{site.area.name}: {_counted(len(site.stations), 'station')}, {_counted(heads, 'head')}; model {site.model}"
    return Artefact("site", site.weights, _plain(site.radio), says, _files(path, (NOTE,), _below(path)))


def _edge(path: Path, card: dict[str, Any]) -> Artefact:
    try:
        weights, radio = str(card["weights"]), Radio.from_json(card["radio"], str(path / CARD))
        stations, heads = _counted(len(card["stations"]), "station"), _counted(len(card["heads"]), "head")
        says = f"{card['model']} as ONNX, {stations}, {heads}"
        changed = [name for name, found in card["sha256"].items() if sha256(path / name) != found]
    except (KeyError, TypeError, AttributeError, OSError) as error:
        raise InputError(f"{path / CARD}: not the card of a whole package ({error!r}); export it again") from error
    if changed:
        raise InputError(f"{path / changed[0]}: is not what {CARD} says; export the package again")
    return Artefact("edge", weights, _plain(radio), says, _files(path, (CARD,), _below(path)))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _below(path: Path) -> list[str]:
    """All files below a folder but hidden ones and what Python compiled."""
    names = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())
    return [name.as_posix() for name in names if not any(p.startswith(".") or p == "__pycache__" for p in name.parts)]


def _files(path: Path, needed: Iterable[str], others: Iterable[str] = ()) -> dict[str, Path]:
    files = dict.fromkeys((*needed, *(name for name in others if (path / name).is_file())))
    if odd := [name for name in files if (path / name).is_symlink()]:
        raise InputError(f"{path / odd[0]}: a link to another file; put the file itself there")
    return {name: path / name for name in files}


def _plain(radio: Radio) -> dict[str, Any]:
    """A radio as it comes back from JSON."""
    return dict(json.loads(json.dumps(radio.to_json())))


def _json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
