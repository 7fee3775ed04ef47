"""A site of a federation that means harm: it sends parameters that are scaled."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uniair.federation.site_client import SiteClient

SCALE = 10.0  # of a poisoned site's parameters


def scaling(kind: type[SiteClient]) -> type[SiteClient]:
    """Sites of a kind whose every answer is `SCALE` times what they learned."""
    from flwr.common import FitIns, FitRes, ndarrays_to_parameters, parameters_to_ndarrays

    class Scaling(kind):  # type: ignore[valid-type,misc]
        def fit(self, ins: FitIns) -> FitRes:
            answer = super().fit(ins)
            wrong = [SCALE * values for values in parameters_to_ndarrays(answer.parameters)]
            answer.parameters = ndarrays_to_parameters(wrong)
            return answer

    return Scaling
