"""What a model answers about the sectors of a plan: who can be asked, each sector by itself, users heard by several."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import uniair
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.site import learning, several_sectors, station_answers, station_links
from uniair.site.covered import Covered
from uniair.site.extrapolation import said
from uniair.site.site import Site, Station
from uniair.site.site_coverage import Planning
from uniair.site.station_answers import Questions
from uniair.site.steps import Steps
from uniair.site.survey import LEAST_LINKS, Ground
from uniair.tasks.registry import pairs
from uniair.training.checkpoint import digest

SEVERAL = 60.0  # rough seconds of positions from several sectors


def readable(wanted: Questions, ground: Ground) -> tuple[UniversalModel | None, str]:
    """The model, where it reads the radios of all sectors; else None, and why not, in one line.

    Raises:
        InputError: no such model, or options of learning for one that is not asked.
    """
    model, why = uniair.load(wanted.model), ""
    if model.preset.radios != "any":
        why = (
            f"the weights of {wanted.model} know one radio, {model.radio}, and can't read this plan's; give "
            "--model with weights for any radio"
        )
    try:
        for sector in ground.sectors:
            sector.radio(wanted.clock)
    except InputError as error:
        why = why or str(error)
    if why and wanted.typed:
        raise InputError(f"{wanted.typed[0]}: nothing learns, for {why}")
    return (None, f"the model was not asked: {why}") if why else (model, "")


def stations(model: UniversalModel, ground: Ground, wanted: Questions, planning: Planning) -> tuple[Station, ...]:
    """The sectors as stations that a model is asked about, each with its own radio."""
    settings = asdict(replace(wanted, model="", typed=())) | {"hole": planning.hole, "weights": digest(model)}
    out = []
    for number, (station, sector) in enumerate(zip(ground.stations, ground.sectors, strict=True)):
        # heads and results of another tilt, panel or model are other ones
        text = json.dumps([sector.digest(), settings], sort_keys=True)
        key = f"{number:03d}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        source = ground.source(number).name
        out.append(replace(station, radio=sector.radio(wanted.clock), downtilt=sector.downtilt, source=source, key=key))
    return tuple(out)


def work(ground: Ground, wanted: Questions) -> float:
    """Rough seconds that `ask` takes."""
    inputs = [one for _, one in pairs()]
    each = station_answers.work(len(inputs), inputs.count("channel"), station_links.MOST, wanted)
    return each * len(ground.sectors) + SEVERAL


def ask(model: UniversalModel, site: Site, covered: Covered, wanted: Questions, steps: Steps) -> dict[str, Any]:
    """Asks about each sector, keeps its heads and their figures in the site, and gives the answers as plain JSON.

    Returns:
        `model`; `sectors`: of each its `radio`, `links`, `within` and `why`, `remarks`, and where it has links enough,
        `rows`, `zero_shot` and `position`, see `station_answers.ask`; `positions`: see `several_sectors.positions`.
    """
    sectors: dict[str, Any] = {}
    rows: dict[str, Any] = {}
    for number, named in enumerate(site.stations):
        radio = site.radio_of(number)
        links = station_links.links_of(site, number, covered)
        scope = site.scope(number, model.remarks(radio))
        one: dict[str, Any] = {
            "radio": str(radio), "links": 0 if links is None else len(links), "within": scope.verdicts,
            "why": list(scope.why), "remarks": list(model.remarks(radio)),
        }  # fmt: skip
        if links is None or len(links) < LEAST_LINKS:
            one["remarks"].append(
                f"not asked: {one['links']} users in the street get {covered.planning.hole:g} dBm or more, fewer than "
                f"{LEAST_LINKS}"
            )
        else:
            found = station_answers.ask(
                site, number, learning.samples(model, site, number, links, None), wanted, steps, len(links)
            )
            rows[named.name] = found["rows"]
            for key in ("probability_of_los", "los"):
                found["zero_shot"].pop(key, None)  # of each link
            one |= found
        sectors[named.name] = one
    site.figures.update(station_answers.figures(rows, wanted.seed))
    what = hashlib.sha256(" ".join(one.key for one in site.stations).encode()).hexdigest()[:12]
    several = partial(several_sectors.positions, model, site, covered, wanted)
    positions = steps.once(f"positions-{what}", "positions by several sectors", SEVERAL, several)
    return {"model": wanted.model, "clock": wanted.clock, "sectors": sectors, "positions": positions}


def lines(found: Mapping[str, Any]) -> list[str]:
    """What lies within what the weights learned from, and what does not, a line each."""
    groups: dict[str, list[str]] = {}
    for name, one in found["sectors"].items():
        # a mast, a square and a radio that lie outside are told by both
        for line in dict.fromkeys((said(one["within"]), *one["why"], *one["remarks"])):
            groups.setdefault(line, []).append(name)
    count = len(found["sectors"])
    return [line if len(names) == count else f"{', '.join(names)}: {line}" for line, names in groups.items()]


def radios(found: Mapping[str, Any]) -> list[str]:
    """The radios that were asked about, each once."""
    return list(dict.fromkeys(one["radio"] for one in found["sectors"].values()))


def first_radio(chosen: tuple[Station, ...], ground: Ground) -> Radio:
    """That of the first sector, or where no model is asked one of its carrier."""
    return chosen[0].radio or Radio(carrier=ground.sectors[0].carrier)
