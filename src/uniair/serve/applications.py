"""The applications that answer one after the other, where a registry is followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI

from uniair.errors import InputError
from uniair.models.forecast import WMLM
from uniair.releases.release import Release
from uniair.serve.predictor import Predictor
from uniair.site.site import Site

SITE, FORECASTER = "site", "forecaster"  # what can be followed; kinds of releases
Releases = Mapping[str, Release]


@dataclass(frozen=True)
class Served:
    """What an application answers about, and by.

    Attributes:
        site: a site, or a plan that no model was asked about.
        forecaster: of beams; None: none.
        releases: those that either was read from.
    """

    site: Site
    forecaster: WMLM | None
    releases: Releases


@dataclass(frozen=True)
class Applications:
    """Makes the application of releases; what is not new in them is not read, loaded or prepared again.

    Attributes:
        begun: what is served first.
        predictor: loads model, heads and links of a site, to answer with a forecaster.
        app: makes the application of what answers, which takes over from another.
        read: reads a release: a site or a forecaster, by its kind.
        learns: forecasts learn, so that a forecaster is needed.
    """

    begun: Served
    predictor: Callable[[Site, WMLM | None], Predictor]
    app: Callable[[Predictor | Site, FastAPI | None], FastAPI]
    read: Mapping[str, Callable[[Release], Any]]
    learns: bool = False

    def __call__(self, releases: Releases, before: FastAPI | None = None) -> FastAPI:
        """The application of releases, in place of the one that answers.

        Raises:
            InputError: a release can't be used; what answers is as it was.
        """
        now: Served = self.begun if before is None else before.state.served
        new = {what: release for what, release in releases.items() if str(release) != str(now.releases[what])}
        # fields of `Served` are called as the kinds are
        found = replace(now, releases=dict(releases), **{what: self.read[what](one) for what, one in new.items()})
        if not found.site.weights and (FORECASTER in releases or self.learns):
            raise InputError(f"{found.site.area.name}: no model was asked about this plan, and nothing would forecast "
                             "there; nothing was applied")  # fmt: skip
        made = self.app(self._answering(found, before), before)
        made.state.served = found
        return made

    def _answering(self, found: Served, before: FastAPI | None) -> Predictor | Site:
        service = None if before is None else before.state.service
        if service is not None and service.predictor.site is found.site:
            known: Predictor = service.predictor
            return known.with_forecaster(found.forecaster)
        return self.predictor(found.site, found.forecaster) if found.site.weights else found.site
