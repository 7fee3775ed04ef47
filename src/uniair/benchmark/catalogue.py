"""Every benchmark by the name that the command line knows it by."""

from __future__ import annotations

from uniair.benchmark.ablation import ABLATION
from uniair.benchmark.benchmark import Benchmark
from uniair.benchmark.embedding_space import FIG3
from uniair.benchmark.feedback import CODE, FIG9
from uniair.benchmark.fewshot import FEWSHOT
from uniair.benchmark.forecast_comparison import FORECAST
from uniair.benchmark.forecast_on_site import ON_SITE
from uniair.benchmark.instruct_ablation import INSTRUCT
from uniair.benchmark.localisation import POSITIONING
from uniair.benchmark.map_shift import FIG8
from uniair.benchmark.matching import FIG5, FIG6, FIG7
from uniair.benchmark.multi_bs import FIG12
from uniair.benchmark.per_area import FIG10, FIG13, HEADS, TABLE3
from uniair.benchmark.power_and_los import LINK_BUDGET
from uniair.benchmark.radios import RADIOS
from uniair.benchmark.robustness import ROBUSTNESS
from uniair.benchmark.scaling import SCALING
from uniair.benchmark.zero_shot_table import ZERO_SHOT

BENCHMARKS: dict[str, Benchmark] = {
    "zeroshot": ZERO_SHOT,
    "linkbudget": LINK_BUDGET,
    "fig3": FIG3,
    "fig5": FIG5,
    "fig6": FIG6,
    "fig7": FIG7,
    "fig8": FIG8,
    "positioning": POSITIONING,
    "fig9": FIG9,
    "code": CODE,
    "fig10": FIG10,
    "fig12": FIG12,
    "table3": TABLE3,
    "fig13": FIG13,
    "heads": HEADS,
    "fewshot": FEWSHOT,
    "radios": RADIOS,
    "robustness": ROBUSTNESS,
    "ablation": ABLATION,
    "scaling": SCALING,
    "instruct": INSTRUCT,
    "forecast": FORECAST,
    "onsite": ON_SITE,
}
