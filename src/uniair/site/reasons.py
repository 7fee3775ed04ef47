"""Why a station's answers came about and how sure they are: some users explained, doubt over many, the map audited."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from uniair.evaluation.html import BS, UE, bullets, png
from uniair.explanation.audit import Audit, Suspicion, audit
from uniair.explanation.audit_rates import Rates
from uniair.explanation.calibrated import Calibration
from uniair.explanation.doubted import NONE, doubted
from uniair.explanation.explain import explain
from uniair.explanation.picture import draw_audit, draw_explanation
from uniair.site.frame import view
from uniair.site.learning import Samples
from uniair.site.site import Site
from uniair.tasks import zero_shot

TAKEN_OFF = 3  # buildings, to see what each was worth
LISTED = 5  # suspicions
Found = dict[str, Any]


def reasons(site: Site, station: int, channels: Samples, calibration: Calibration | None, count: int) -> Found:
    """What is known of some of a station's channels, evenly over them: plain JSON, made once.

    Args:
        count: channels that are read, which takes longest.

    Returns:
        `links` [M] that were asked, `los` and `fit` [M], `wrong` [M] or None where it is not calibrated, `in_range`,
        `audit` as `Audit.to_json`, and `contradicted` [rows, columns] nats.
    """
    n = len(channels.batch)
    chosen = np.unique(np.linspace(0, n - 1, min(count, n)).round().astype(int))
    radio, csi, model = channels.batch.radio, channels.batch.csi[chosen], channels.model
    env = view(site, station).in_site(site.stations[station].position, channels.links.ue[chosen])
    los = zero_shot.los(model, csi, env.seen_by(radio), radio).cpu()
    sure = doubted(model, csi, env.seen_by(radio), los, radio, calibration)
    audited = audit(model, csi, env, radio, site.area, calibration=calibration)
    wrong = None if calibration is None else [round(float(one.wrong or 0), 4) for one in sure]
    return {
        "links": chosen.tolist(), "los": los.double().numpy().round(4).tolist(), "wrong": wrong,
        "fit": [round(one.signals["fit"], 4) for one in sure], "in_range": all(one.in_range for one in sure),
        "audit": audited.to_json(), "contradicted": np.maximum(audited.contradicted, 0).round(1).tolist(),
    }  # fmt: skip


def section(
    site: Site, station: int, channels: Samples, found: Found, calibration: Calibration | None,
    asked: dict[str, Any] | None,
) -> tuple[str, str]:  # fmt: skip
    """Words and content of the report's section.

    Args:
        found: of `reasons`.
        asked: what zero-shot questions gave, with `los` [N] where the truth is known.
    """
    truth = None if asked is None or "los" not in asked else np.array(asked["los"], dtype=bool)
    model, radio, position = channels.model, channels.batch.radio, site.stations[station].position
    pictures = []
    for link in examples(found):
        env = view(site, station).in_site(position, channels.links.ue[[link]])
        (why,) = explain(model, channels.batch.csi[[link]], env, radio, site.area, TAKEN_OFF, calibration)
        drawing = draw_explanation(why, site.map, site.area.size, np.array(position), site.stations[station].bearing)
        pictures.append(png(drawing, f"user {link}: {why}"))
    judged = _audit(found)
    lines = [str(one) for one in judged.suspicions[:LISTED]] or ["nothing on the map is contradicted"]
    pictures.append(png(draw_audit(judged, site.map, site.area.size, np.array([position])), "; ".join(lines)))
    words = " ".join([
        _doubt(found, truth), f"{len(found['links'])} channels, evenly over the links: the map explains "
        f"{100 * judged.explained:.0f} % of their power.", *map("{}.".format, judged.remarks),
    ])  # fmt: skip
    return words, "".join([png(_drawn(found, truth), "how doubtful the answers are"), *pictures, bullets(lines)])


def examples(found: Found) -> list[int]:
    """Links that are explained: of the LOS answers and of the others those of middling doubt, and the most doubtful."""
    doubt = np.array(found["fit"]) * -1 if found["wrong"] is None else np.array(found["wrong"])
    los, order = np.array(found["los"]) > 0.5, np.argsort(doubt, kind="stable")
    groups = [order[los[order]], order[~los[order]]]
    picked = [int(of[len(of) // 2]) for of in groups if len(of)] + [int(order[-1])]
    return [found["links"][i] for i in dict.fromkeys(picked)]


def _audit(found: Found) -> Audit:
    told = found["audit"]
    return Audit(
        tuple(Suspicion(one["change"], one["building"], tuple(one["place_m"]), one["nats"], one["channels"])
              for one in told["suspicions"]),
        np.array(found["contradicted"]), told["explained_share"], told["channels"],
        Rates.from_json(told["rates"], "audit"), tuple(told["remarks"]),
    )  # fmt: skip


def _wrong(found: Found, truth: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Which of the LOS answers are wrong, where that is known: [M]."""
    return None if truth is None else (np.array(found["los"]) > 0.5) != truth[found["links"]]


def _doubt(found: Found, truth: NDArray[np.bool_] | None) -> str:
    """Doubt about LOS in words."""
    wrong = _wrong(found, truth)
    known = "" if wrong is None else f" {100 * wrong.mean():.0f} % of them are wrong here."
    if found["wrong"] is None:
        middle = float(np.median(found["fit"]))
        return f"Doubt is {NONE}; channels fit their places by a cosine of {middle:.2f} (median).{known}"
    stated = np.array(found["wrong"])
    return (
        f"Doubt says that {100 * stated.mean():.0f} % of the LOS answers are wrong, of the tenth that it doubts most "
        f"{100 * np.quantile(stated, 0.9):.0f} % and more.{known}"
    )


def _drawn(found: Found, truth: NDArray[np.bool_] | None) -> Drawing:
    """How doubtful the LOS answers are; where it is known, right and wrong ones apart."""
    drawing = Drawing(figsize=(7, 3), layout="constrained")
    axes = drawing.add_subplot()
    values = np.array(found["fit"] if found["wrong"] is None else found["wrong"])
    wrong = _wrong(found, truth)
    groups = [values] if wrong is None else [values[~wrong], values[wrong]]
    label = "cosine between a channel and its place" if found["wrong"] is None else "probability of a wrong LOS answer"
    names = ["LOS answers"] if wrong is None else ["right", "wrong"]
    axes.hist(groups, bins=20, stacked=True, color=[UE, BS][: len(groups)], label=names)
    axes.set(xlabel=label, ylabel="LOS answers")
    axes.legend(fontsize=8)
    return drawing
