"""From footprints and base stations to a site folder, step by step; a step whose result is there is not made again."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import uniair
from uniair.area.streets import read_streets
from uniair.data.csi_files import SUFFIXES
from uniair.data.links.links import Links
from uniair.environment import UE_HEIGHT
from uniair.errors import InputError
from uniair.files import sha256
from uniair.models.universal import RadioWarning
from uniair.propagation.ray_tracing import check_materials, tracer
from uniair.site import (
    draws,
    gis,
    learning,
    planning,
    reasons,
    site_coverage,
    site_recipe,
    station_answers,
    station_links,
    survey,
    traced_links,
)
from uniair.site.covered import Covered
from uniair.site.drive_tracing import Measurements
from uniair.site.measured import Terms, read_measured
from uniair.site.report import write_card, write_report
from uniair.site.site import NOTE, REPORT, Site
from uniair.site.site_coverage import Planning
from uniair.site.station_answers import Questions
from uniair.site.steps import Steps, begin
from uniair.site.survey import Survey
from uniair.tasks.registry import pairs
from uniair.training.checkpoint import digest
from uniair.training.heads import HeadTraining

# rough seconds a link, and a channel explained, on two cores: what the progress bar makes its time left of
TRACED, EXPLAINED = 0.01, 0.06


@dataclass(frozen=True)
class Request:
    """What a site is made of.

    Attributes:
        survey: place, base stations and users.
        model: packaged model or checkpoint folder; None: none is asked, of a plan's coverage alone.
        measured: file or folder of measured labels, see `site.measured`; None: there are none.
        trace: trace links; without, heads learn from measured labels alone.
        epochs: passes of each network from scratch over its labels; 0 leaves these networks out.
        seeds: runs of everything that learns, each with its own streets to test on; the first one's heads are kept.
        training: how heads are trained.
        terms: what the table of measured labels does not say itself.
        planning: how coverage is counted.
        export: folder for files that a GIS opens; None: none.
        materials: of walls that a plan's drive test tries, see `Measurements`.
        clock: of a plan's radios, see `station_answers.Questions`.
        learning: options of learning that were given, which a plan that no model is asked about refuses.
        explained: channels of each station that the report's section on why and how sure reads; 0 leaves it out.
    """

    survey: Survey
    model: str | None = "small"
    measured: str | None = None
    trace: bool = True
    epochs: int = 20
    seeds: int = 1
    training: HeadTraining = field(default_factory=HeadTraining)
    terms: Terms = field(default_factory=Terms)
    planning: Planning = field(default_factory=Planning)
    export: Path | None = None
    materials: tuple[str, ...] | None = None
    clock: str = "absolute"
    learning: tuple[str, ...] = ()
    explained: int = 150

    @property
    def questions(self) -> Questions | None:
        """What a model is asked; None: none is."""
        if self.model is None:
            return None
        planned = self.survey.sites is not None
        return Questions(
            self.model, self.epochs, self.seeds, self.training, self.survey.seed, self.clock, self.learning, not planned
        )


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
            if request.seeds < 1 or request.epochs < 0:
                raise InputError("--seeds must be at least 1, --epochs at least 0")
            if request.survey.sites is None:
                return _make(request, out, steps)
            if request.questions is None and request.learning:
                raise InputError(f"{request.learning[0]}: nothing learns with --model none; leave it out")
            planning.require_plain(request.trace, request.measured is not None, request.terms)
            log = None if request.measured is None else Path(request.measured)
            measured = None if log is None else Measurements(log, request.terms, request.materials)
            return planning.make(
                request.survey, request.planning, out, steps, request.export, measured, request.questions
            )


def _make(request: Request, out: Path, steps: Steps) -> Site:
    if request.explained < 0:
        raise InputError("--explained must be at least 0")
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
    wanted = request.questions
    if wanted is None:
        raise InputError("--model none: --bs asks a model; give one, or a file of --sites")
    model = uniair.load(wanted.model)
    calibration = uniair.load_calibration(wanted.model, model)
    settings = asdict(request)
    made = site_recipe.recipe(
        request.survey, weights=digest(model), training=settings["training"],
        measured=None if labels is None else _checksum(Path(str(request.measured))),
        tracer=tracer(request.survey.ray_tracing) if request.trace else None,
        **{name: settings[name] for name in ("trace", "epochs", "seeds")},
        **({} if request.terms == Terms() else {"terms": settings["terms"]}),  # sites from before there were any go on
    )  # fmt: skip
    site_recipe.note_recipe(out, made)
    made_before = Site.read(out) if (out / NOTE).exists() and (out / REPORT).exists() else None
    if made_before is not None and made_before.about.get("explained", Request.explained) == request.explained:
        kept = replace(made_before, streets=read_streets(request.survey.place, ground.area))
        if request.trace:
            kept.about["coverage"] = _coverage(ground, _traced(kept, ground, request, steps), request, out)
            kept.write()
        steps.finish()
        return kept
    site = Site(
        out, ground.area, ground.stations, wanted.model, digest(model), ground.area.georeference,
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
        links = station_links.links_of(site, number) if name in traced else None
        labelled[name] = learning.samples(model, site, number, links, labels)
        knows = labels is not None and "los" in labels.labels
        for what, answers in station_answers.ask(site, number, labelled[name], wanted, steps, users, knows).items():
            found[what][name] = answers
        if request.explained and (channels := labelled[name].get(("position", "channel"))):
            why = partial(reasons.reasons, site, number, channels, calibration, request.explained)
            key, work = f"{name}-reasons-{request.explained}", EXPLAINED * request.explained
            found["reasons"][name] = steps.once(key, f"{name}: why", work, why)
        if links is not None and site.area.drawn.any():
            again = partial(draws.compare, model, site, ground, number, links, request.survey)
            found["draws"][name] = steps.once(f"{name}-draws", f"{name}: other heights", 5.0, again)
    coverage = _coverage(ground, traced, request, out) if traced else None
    steps.bar.set_description("report")
    site.figures.update(station_answers.figures(found["rows"], request.survey.seed))
    site.about.update(
        recipe=made, remarks=remarks, within=station_answers.within(model, site), corner=list(corner),
        seconds=round(steps.seconds(), 1), measured=counts,
        links={name: len(links) for name, links in traced.items()}, uniair=uniair.__version__, coverage=coverage,
        explained=request.explained,
    )  # fmt: skip
    if made_before is not None or not (out / REPORT).exists():
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
    wanted = request.questions
    assert wanted is not None
    each = [station_answers.work(len(of), sum(inputs == "channel" for _, inputs in of), users, wanted) for of in heads]
    station = (TRACED * users if request.trace else 0) + EXPLAINED * request.explained
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
