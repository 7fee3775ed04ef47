"""How the sites' parameters become one set: Flower's strategies, by the name that they are asked for by."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uniair.errors import InputError

if TYPE_CHECKING:
    from flwr.server.strategy import Strategy

Arrays = list[NDArray[np.float32]]  # a head's trained parameters, in order


@dataclass(frozen=True)
class Aggregate:
    """One of the rules.

    Attributes:
        about: a line for people.
        fewest: sites that it needs where so many of them may be poisoned.
        strategy: Flower's, of so many sites and poisoned ones among them.
    """

    about: str
    fewest: Callable[[int], int]
    strategy: Callable[[int, int], Strategy]


def _mean(_sites: int, _poisoned: int) -> Strategy:
    from flwr.server.strategy import FedAvg

    return FedAvg()


def _median(_sites: int, _poisoned: int) -> Strategy:
    from flwr.server.strategy import FedMedian

    return FedMedian()


def _trimmed(sites: int, poisoned: int) -> Strategy:
    from flwr.server.strategy import FedTrimmedAvg

    # it cuts off ⌊β · sites⌋ at each end; in the middle of the step no rounding leaves a poisoned one in
    return FedTrimmedAvg(beta=min((poisoned + 0.5) / sites, 0.49999))


def _krum(_sites: int, poisoned: int) -> Strategy:
    from flwr.server.strategy import Krum

    return Krum(num_malicious_clients=poisoned)


def _multi_krum(sites: int, poisoned: int) -> Strategy:
    from flwr.server.strategy import Krum

    return Krum(num_malicious_clients=poisoned, num_clients_to_keep=sites - poisoned)


AGGREGATES: Mapping[str, Aggregate] = {
    "mean": Aggregate("FedAvg, weighted by links; one poisoned site can do anything", lambda _: 1, _mean),
    "median": Aggregate("of every parameter (Yin et al., 2018)", lambda poisoned: 2 * poisoned + 1, _median),
    "trimmed": Aggregate("mean without the extremes (Yin et al., 2018)", lambda poisoned: 2 * poisoned + 1, _trimmed),
    "krum": Aggregate("the site nearest to the others (Blanchard et al., 2017)", lambda p: 2 * p + 3, _krum),
    "multi-krum": Aggregate("mean of all but the farthest sites", lambda poisoned: 2 * poisoned + 3, _multi_krum),
}


def require_flower(private: bool = False) -> None:
    """Quietens Flower's log, which our own lines stand for.

    Args:
        private: Opacus too must be there.

    Raises:
        InputError: a package of the `federated` extra is missing.
    """
    needed = ("flwr", "opacus") if private else ("flwr",)
    if missing := [package for package in needed if importlib.util.find_spec(package) is None]:
        raise InputError(f"a federation needs {', '.join(missing)}: pip install 'uniair[federated]'")
    import flwr.server  # noqa: F401  it sets the level of its log when it is imported

    logging.getLogger("flwr").setLevel(logging.CRITICAL)


def aggregated(name: str, poisoned: int, sites: Sequence[tuple[Arrays, int]]) -> Arrays:
    """One set of parameters from those of several sites, with the number of links that each learned from.

    Args:
        name: one of `AGGREGATES`.
        poisoned: sites that may be.

    Raises:
        InputError: fewer sites than the rule needs.
    """
    from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays

    rule = AGGREGATES[name]
    if len(sites) < rule.fewest(poisoned):
        raise InputError(f"{name} of {len(sites)} sites: with {poisoned} poisoned it needs {rule.fewest(poisoned)}")
    ok = Status(Code.OK, "")
    nobody: Any = None  # the strategies look at the answers alone
    answers = [(nobody, FitRes(ok, ndarrays_to_parameters(arrays), links, {})) for arrays, links in sites]
    found, _ = rule.strategy(len(sites), poisoned).aggregate_fit(1, answers, [])
    assert found is not None
    return [np.asarray(values, dtype=np.float32) for values in parameters_to_ndarrays(found)]
