"""From footprints and base stations to a site folder, step by step; a step whose result is there is not made again."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import uniair
from uniair import metrics
from uniair.area.streets import read_streets
from uniair.data.csi_files import SUFFIXES
from uniair.data.links.links import Links
from uniair.environment import UE_HEIGHT
from uniair.errors import InputError
from uniair.evaluation.zero_shot_suite import Figure
from uniair.files import sha256
from uniair.models.universal import RadioWarning
from uniair.propagation.ray_tracing import check_materials, tracer
from uniair.site import (
    confidence,
    draws,
    gis,
    learning,
    planning,
    reasons,
    site_coverage,
    site_recipe,
    survey,
    traced_links,
)  # fmt: skip
from uniair.site.covered import Covered
from uniair.site.drive_tracing import Measurements
from uniair.site.learning import Samples
from uniair.site.measured import Terms, read_measured
from uniair.site.report import write_card, write_report
from uniair.site.site import NOTE, REPORT, Site
from uniair.site.site_coverage import Planning
from uniair.site.steps import Steps, begin
from uniair.site.survey import Survey
from uniair.tasks import zero_shot
from uniair.tasks.registry import pairs
from uniair.training.checkpoint import digest
from uniair.training.heads import HeadTraining

POSITIONED = 60  # channels whose likelihood map is drawn, of those that no head learned from
STEP = 4.0  # m; of these maps
# rough seconds on two cores: what the progress bar makes its time left of
TRACED, QUESTION, HEAD, OTHERS, EPOCH, EXPLAINED = 0.01, 0.006, 8.0, 4.0, 3.0, 0.06


@dataclass(frozen=True)
class Request:
    """What a site is made of.

    Attributes:
        survey: place, base stations and users.
        model: packaged model or checkpoint folder.
        measured: file or folder of measured labels, see `site.measured`; None: there are none.
        trace: trace links; without, heads learn from measured labels alone.
        epochs: passes of each network from scratch over its labels; 0 leaves these networks out.
        seeds: runs of everything that learns, each with its own streets to test on; the first one's heads are kept.
        training: how heads are trained.
        terms: what the table of measured labels does not say itself.
        planning: how coverage is counted.
        export: folder for files that a GIS opens; None: none.
        materials: of walls that a plan's drive test tries, see `Measurements`.
        explained: channels of each station that the report's section on why and how sure reads; 0 leaves it out.
    """

    survey: Survey
    model: str = "small"
    measured: str | None = None
    trace: bool = True
    epochs: int = 20
    seeds: int = 1
    training: HeadTraining = field(default_factory=HeadTraining)
    terms: Terms = field(default_factory=Terms)
    planning: Planning = field(default_factory=Planning)
    export: Path | None = None
    materials: tuple[str, ...] | None = None
    explained: int = 150


def make(request: Request, out: Path) -> Site:
    """Makes a site in `out`, or goes on with one that was begun by the same request.

    Raises:
        InputError: see `survey.crop`, `note_recipe` and `trace_links`, and `read_measured`; nothing to learn from;
            the tracer can't run here, or knows no walls at the radio's carrier.
    """
    with warnings.catch_warnings():
        # the site says it itself: `about` holds the model's remarks on its radio
        warnings.simplefilter("ignore", RadioWarning)
        with begin(out, "reading the map") as steps:
            if request.survey.sites is None:
                return _make(request, out, steps)
            planning.require_plain(request.trace, request.measured is not None, request.terms)
            log = None if request.measured is None else Path(request.measured)
            measured = None if log is None else Measurements(log, request.terms, request.materials)
            return planning.make(request.survey, request.planning, out, steps, request.export, measured)


def _make(request: Request, out: Path, steps: Steps) -> Site:
    if request.seeds < 1 or request.epochs < 0 or request.explained < 0:
        raise InputError("--seeds must be at least 1, --epochs and --explained at least 0")
    if not request.trace and request.survey.users is not None:
        raise InputError("--users are traced; leave --users out, or --trace false")
    if not request.trace and request.export is not None:
        raise InputError("--export: coverage is traced; leave --export out, or --trace false")
    if not request.trace and request.measured is None:
        raise InputError("--trace false leaves nothing to learn from; give --measured, a file of measured labels")
    ground = survey.crop(request.survey)
    names = [station.name for station in ground.stations]
    labels, corner = None, ground.corner
    if request.measured is not None:
        labels = read_measured(
            Path(request.measured),
            ground.area,
            names,
            ground.area.georeference,
            corner,
            request.survey.radio,
            request.terms,
        )
    counts = {} if labels is None else {name: len(labels.of(i)) for i, name in enumerate(names)}
    if not request.trace and (few := [name for name, count in counts.items() if count < learning.LEAST]):
        raise InputError(
            f"{request.measured}: {counts[few[0]]} rows of station {few[0]}, fewer than {learning.LEAST}; add some, or "
            "trace as well"
        )
    if request.trace:
        check_materials(request.survey.ray_tracing)
    model = uniair.load(request.model)
    calibration = uniair.load_calibration(request.model, model)
    settings = asdict(request)
    made = site_recipe.recipe(
        request.survey, weights=digest(model), training=settings["training"],
        measured=None if labels is None else _checksum(Path(str(request.measured))),
        tracer=tracer(request.survey.ray_tracing) if request.trace else None,
        **{name: settings[name] for name in ("trace", "epochs", "seeds")},
        **({} if request.terms == Terms() else {"terms": settings["terms"]}),  # sites from before there were any go on
    )  # fmt: skip
    site_recipe.note_recipe(out, made)
    if (out / NOTE).exists() and (out / REPORT).exists():
        kept = replace(Site.read(out), streets=read_streets(request.survey.place, ground.area))
        if request.trace:
            kept.about["coverage"] = _coverage(ground, _traced(kept, ground, request, steps), request, out)
            kept.write()
        steps.finish()
        return kept
    site = Site(
        out, ground.area, ground.stations, request.model, digest(model), ground.area.georeference,
        radio=request.survey.radio, streets=read_streets(request.survey.place, ground.area),
    )  # fmt: skip
    site.about["users"] = _users(ground, request)
    remarks = [*model.remarks(site.radio), *site.remarks(), *(() if labels is None else labels.remarks)]
    heads = [pairs() if request.trace or labels is None else sorted(labels.of(i).pairs()) for i in range(len(names))]
    users = ground.count(request.survey.ue)
    steps.expect(_work(request, heads, users))
    traced = _traced(site, ground, request, steps) if request.trace else {}
    found: dict[str, Any] = {"rows": {}, "zero_shot": {}, "position": {}, "draws": {}, "reasons": {}}
    labelled = {}
    for number, name in enumerate(names):
        labelled[name] = learning.samples(model, site, number, traced.get(name), labels)
        found["rows"][name] = _learn(site, number, labelled[name], request, steps)
        if channels := labelled[name].get(("position", "channel")):
            knows = channels.source == "traced" or (labels is not None and "los" in labels.labels)
            ask = partial(_zero_shot, channels, knows)
            found["zero_shot"][name] = steps.once(f"{name}-zero_shot", f"{name}: zero-shot", QUESTION * users, ask)
            place = partial(_positions, site, number, channels, request.survey.seed)
            found["position"][name] = steps.once(f"{name}-position", f"{name}: likelihood maps", 5.0, place)
            if request.explained:
                why = partial(reasons.reasons, site, number, channels, calibration, request.explained)
                key, work = f"{name}-reasons-{request.explained}", EXPLAINED * request.explained
                found["reasons"][name] = steps.once(key, f"{name}: why", work, why)
        if name in traced and site.area.drawn.any():
            again = partial(draws.compare, model, ground, ground.stations[number], traced[name], request.survey)
            found["draws"][name] = steps.once(f"{name}-draws", f"{name}: other heights", 5.0, again)
    coverage = _coverage(ground, traced, request, out) if traced else None
    steps.bar.set_description("report")
    site.figures.update(_figures(found["rows"], request.survey.seed))
    site.about.update(
        recipe=made, remarks=remarks, seconds=round(steps.seconds(), 1), corner=list(corner), measured=counts,
        links={name: len(links) for name, links in traced.items()}, uniair=uniair.__version__, coverage=coverage,
    )  # fmt: skip
    if not (out / REPORT).exists():
        write_report(out / REPORT, model, site, labelled, traced, found, request.survey.seed, calibration)
    write_card(out / "card.md", site, found)
    site.write()
    steps.finish()
    return site


def _coverage(ground: survey.Ground, traced: dict[str, Links], request: Request, out: Path) -> dict[str, Any]:
    """Figures of what the stations give their users, which the folder keeps; exported where that is wanted."""
    outdoors = ground.users(request.survey.ue, request.survey.seed)
    users = site_coverage.of_users(ground, outdoors, traced, request.planning)
    covered = Covered.of(ground, users, None, request.planning)
    covered.write(out)
    if request.export is not None:
        gis.export(request.export, ground.area, covered)
    return site_coverage.summary(ground, users, None, request.planning)


def _users(ground: survey.Ground, request: Request) -> dict[str, Any] | None:
    """Who is traced, and who of a file is not; None where nobody is."""
    if not request.trace:
        return None
    own = ground.own
    return {
        "count": ground.count(request.survey.ue),
        "file": None if own is None else Path(str(request.survey.users)).name,
        "left_out": {} if own is None else dict(own.left_out),
        "highest": UE_HEIGHT if own is None else round(float(own.points[:, 2].max()), 2),
    }


def _work(request: Request, heads: list[Any], users: int) -> float:
    networks = EPOCH * request.epochs
    each = [(HEAD + OTHERS + networks * (inputs == "channel")) * request.seeds for of in heads for _, inputs in of]
    station = (TRACED * users if request.trace else 0) + QUESTION * users + 5.0 + EXPLAINED * request.explained
    return sum(each) + station * len(heads) + 10.0


def _checksum(path: Path) -> str:
    """Of a file and the CSI beside it, or of a folder's arrays."""
    beside = [path.with_suffix(f".csi{suffix}") for suffix in SUFFIXES]
    files = sorted(path.glob("*.npy")) if path.is_dir() else [path, *beside]
    return " ".join(f"{file.name}:{sha256(file)[:16]}" for file in files if file.exists())


def _traced(site: Site, ground: survey.Ground, request: Request, steps: Steps) -> dict[str, Links]:
    """The links of each station, traced as far as they are not there.

    Raises:
        InputError: a station reaches too few users.
    """
    links = traced_links.traced(site.folder / "links", "trace", "tracing", ground, request.survey, steps, TRACED)
    users = ground.count(request.survey.ue)
    named = {station.name: links.get(station.name) for station in ground.stations}
    found = {name: of for name, of in named.items() if of is not None and len(of) >= survey.LEAST_LINKS}
    if poor := [name for name in named if name not in found]:
        have = named[poor[0]]
        more = "raise --ue" if request.survey.users is None else "give more positions"
        raise InputError(
            f"{poor[0]}: reaches {0 if have is None else len(have)} of {users} users; move the base "
            f"station into the open, or give another --out and {more}"
        )
    return found


def _learn(
    site: Site, station: int, labelled: dict[tuple[str, str], Samples], request: Request, steps: Steps
) -> list[dict[str, Any]]:
    """Heads and what they are compared with: rows over all seeds."""
    rows, name, first = [], site.stations[station].name, request.survey.seed
    for pair, samples in labelled.items():
        for seed in range(first, first + request.seeds):
            key, about = f"{name}-{pair[0]}-{pair[1]}-{seed}", f"{name}: {pair[0]}"
            keep = seed == first
            head = partial(learning.head_rows, site, station, pair, samples, request.training, seed, keep)
            rows += steps.once(key, about, HEAD, head)
            others = partial(learning.other_rows, pair, samples, request.training, seed)
            rows += steps.once(f"{key}-others", f"{about}, baselines", OTHERS, others)
            if request.epochs and pair[1] == "channel":
                network = partial(learning.network_rows, pair, samples, request.epochs, seed)
                rows += steps.once(f"{key}-scratch", f"{about}, from scratch", EPOCH * request.epochs, network)
    return rows


def _zero_shot(channels: Samples, knows_los: bool) -> dict[str, Any]:
    """Answers about every channel with nothing tuned: figures as the suite has them, and P(LOS) of each link."""
    model, csi, env = channels.model, channels.batch.csi, channels.batch.environment
    radio = channels.batch.radio
    restored, normalised = (part.cpu() for part in zero_shot.feedback(model, csi, radio=radio))
    nmse, sgcs = metrics.nmse_db(restored, normalised), metrics.sgcs(restored, normalised)
    figures = [
        Figure("CSI feedback, NMSE", nmse, 0.0, "for all-zero", "dB"),
        Figure("CSI feedback, SGCS", sgcs, None, "", ""),
    ]
    out: dict[str, Any] = {}
    if knows_los:
        truth = channels.links.los if channels.source == "traced" else env.los.bool().numpy()
        probability = zero_shot.los(model, channels.asked(), env, radio).cpu().numpy()
        most = metrics.majority(truth)
        figures = [
            Figure("LOS from CSI, map and position", float(((probability > 0.5) == truth).mean()), most, "majority"),
            Figure("  macro-F1", metrics.macro_f1(probability > 0.5, truth), None, ""),
            Figure("  calibration error (ECE)", metrics.calibration_error(probability, truth), None, ""),
            *figures,
        ]
        out["probability_of_los"] = probability.round(4).tolist()
        out["los"] = truth.astype(int).tolist()
    return {"figures": [vars(figure) for figure in figures], "links": len(csi), "source": channels.source} | out


def _positions(site: Site, station: int, channels: Samples, seed: int) -> dict[str, Any]:
    """Likelihood maps of channels from the tested streets."""
    _, test = channels.divide(seed)
    chosen = np.sort(np.random.default_rng(seed).permutation(test)[:POSITIONED])
    answers = confidence.position_answers(
        channels.model,
        site,
        station,
        channels.asked()[chosen],
        channels.links.ue[chosen],
        STEP,
    )
    return {"links": chosen.tolist(), **answers, "figures": confidence.position_figures(answers)}


def _figures(rows: dict[str, list[dict[str, Any]]], seed: int) -> dict[str, Any]:
    """Station → task → inputs → figures of the head that is kept."""
    out: dict[str, Any] = {}
    for name, found in rows.items():
        for row in found:  # more labels come later
            if row["seed"] == seed and row["method"].startswith("head "):
                out.setdefault(name, {}).setdefault(row["task"], {})[row["inputs"]] = row["figures"]
    return out
