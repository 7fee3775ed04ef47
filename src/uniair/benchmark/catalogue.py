"""Every figure and every measurement of speed, by the name that the command line knows it by.

Titles stand here and all else where it is made, so that the list is printed without loading any of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One line of the catalogue.

    Attributes:
        title: a line for people; the heading of a figure's section on the results page.
        place: `module:name` below `uniair.benchmark`.
    """

    title: str
    place: str

    def load(self) -> Any:
        """A figure's `Benchmark`; of the others a function whose parameters are the command's options."""
        module, name = self.place.split(":")
        return getattr(import_module(f"uniair.benchmark.{module}"), name)


FIGURES = {
    "zeroshot": Entry("Zero-shot answers over every held-out link", "zero_shot_table:ZERO_SHOT"),
    "linkbudget": Entry("Line of sight when the channel's power is known too", "power_and_los:LINK_BUDGET"),
    "fig3": Entry("The common space of channels and environments", "embedding_space:FIG3"),
    "fig5": Entry("The similarity of one area's channels and environments", "matching:FIG5"),
    "fig6": Entry("Matching accuracy among an area's links, over areas", "matching:FIG6"),
    "fig7": Entry("Which user of a BS sent this channel", "matching:FIG7"),
    "fig8": Entry("The true map against one with a building moved", "map_shift:FIG8"),
    "positioning": Entry("Where the UE stands, nothing tuned, with one to three BSs", "localisation:POSITIONING"),
    "fig9": Entry(
        "CSI feedback in dense areas: zero-shot beside autoencoders of the same code length",
        "feedback:FIG9",
    ),
    "code": Entry("CSI feedback with shorter and quantised codes", "feedback:CODE"),
    "feedback": Entry("CSI feedback in bits beside the codebooks of TS 38.214", "feedback_bits:FEEDBACK"),
    "completion": Entry(
        "Channels completed from pilots, some antennas, or the band beside", "completed_channels:COMPLETION"
    ),
    "nextcsi": Entry("The CSI of a UE that moves, a moment ahead", "next_csi:NEXT_CSI"),
    "fig10": Entry("Positioning from one base station in dense areas", "per_area:FIG10"),
    "fig12": Entry("Positioning from one, two and three BSs in DeepMIMO cities", "multi_bs:FIG12"),
    "table3": Entry(
        "Beam selection in dense areas: heads on the frozen model, networks from scratch, look-up",
        "per_area:TABLE3",
    ),
    "fig13": Entry("LOS or NLOS in dense areas", "per_area:FIG13"),
    "heads": Entry("Every task in dense areas: light heads beside classical methods", "per_area:HEADS"),
    "fewshot": Entry(
        "Light heads from 16 labels on: frozen features in DeepMIMO cities, TOFT in dense areas",
        "fewshot:FEWSHOT",
    ),
    "radios": Entry("Many radios and masts, also such as the weights have not learned", "radios:RADIOS"),
    "generation": Entry(
        "The channel that a place would give, before anything is measured there", "generated_channels:GENERATION"
    ),
    "spreads": Entry(
        "Channels drawn for places: whether delays, directions and K factors spread as the tracer's",
        "generated_statistics:GENERATED_STATISTICS",
    ),
    "explain": Entry(
        "Whether explanations are true: named walls, and what deleting them does", "explanations:EXPLANATIONS"
    ),
    "audit": Entry("Which building of a map is wrong, by what channels show", "map_audit:MAP_AUDIT"),
    "doubt": Entry("Whether answers know when they are wrong, and sets hold what they promise", "doubts:DOUBTS"),
    "anomaly": Entry(
        "Drifting calibration, jammers, blocked panels and wrong maps, noticed without labels and with few",
        "anomalies:ANOMALY",
    ),
    "attack": Entry("What attacks on CSI cost, in theory and over the air, and what defences buy", "attacks:ATTACKS"),
    "robustness": Entry(
        "What noise, wrong timing, missing inputs, old maps and wrong positions cost",
        "robustness:ROBUSTNESS",
    ),
    "ablation": Entry("What each part of the recipe is worth", "ablation:ABLATION"),
    "scaling": Entry("Accuracy against areas, links and training", "scaling:SCALING"),
    "instruct": Entry("AI²MMUM and its ablations: tasks from instructions", "instruct_ablation:INSTRUCT"),
    "forecast": Entry(
        "Beams forecast on drives, on sites that are known and on ones never seen",
        "forecast_comparison:FORECAST",
    ),
    "mobility": Entry("Where the user will be: positions forecast beside trackers", "where_next:MOBILITY"),
    "blockage": Entry("Line of sight lost before it is: announced from beams and pictures", "blockage_ahead:BLOCKAGE"),
    "restored": Entry(
        "Powers that nobody measured: lost steps restored, steps to come rolled out", "restored_powers:RESTORED_POWERS"
    ),
    "onsite": Entry(
        "A forecaster adapted to a site that it never saw: head, LoRA or everything, with and without replay",
        "forecast_on_site:ON_SITE",
    ),
    "sizes": Entry(
        "Forecasters of several sizes against the share of the drives that they learned from",
        "forecast_sizes:FORECAST_SIZES",
    ),
    "stream": Entry("A forecaster that learns along a street that is new to it", "new_streets:NEW_STREETS"),
    "federated": Entry(
        "Heads that sites learn together without sending data: under poison, and with privacy", "federated:FEDERATED"
    ),
    "federated-forecasts": Entry(
        "A forecaster that streets learn together without sending drives, also with one of them poisoned",
        "federated_forecasts:FEDERATED_FORECASTS",
    ),
}
SPEED = {
    "synthesis": Entry("CSI from paths, links per second", "speed.synthesis:run"),
    "training": Entry(
        "Pretraining: samples per second, share of the matrix rate, where a step's time goes",
        "speed.training_speed:run",
    ),
    "loading": Entry("How a million links open and are read, and how long training waits", "speed.loading:run"),
    "questions": Entry("AI²MMUM, answers and training questions per second", "speed.questions:run"),
    "instructions": Entry(
        "AI²MMUM, instructions understood: the task and every argument, what is declined or asked back",
        "instructions:run",
    ),
    "tracing": Entry("Links per second, and what is lost against 50 times the rays", "speed.tracing:run"),
    "maps": Entry("Links of planned sectors beside radio maps of the same cells", "speed.map_agreement:run"),
    "calibration": Entry("What noisy drive tests calibrate: walls and offsets", "speed.calibration_error:run"),
    "edge": Entry("Accuracy and speed of the models in torch, ONNX and int8", "speed.edge_cost:run"),
    "readers": Entry(
        "Broken files against every reader: what is read, refused, and must not be", "speed.reader_fuzz:run"
    ),
    "service": Entry("Requests per second that a site's server bears", "speed.service_load:run"),
}
PAGE = {"results": Entry("The results page, from what was run so far", "results:run")}
CATALOGUE = FIGURES | PAGE | SPEED
