"""The stations' codes for CSI feedback in bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uniair.models.universal import UniversalModel
from uniair.serve.naming import NotHereError
from uniair.site.site import Site
from uniair.tasks.feedback_code import FeedbackCode
from uniair.training.feedback_adaptation import load_feedback


class StationCodes:
    """What the site's stations answer feedback with.

    Args:
        common: file of a code for stations that have none of their own; None: none.

    Raises:
        InputError: a code is broken, or of other weights or another radio.
    """

    def __init__(self, site: Site, model: UniversalModel, common: Path | None = None) -> None:
        self._codes: dict[str, FeedbackCode | None] = {}
        for number, station in enumerate(site.stations):
            own = site.feedback(number)
            file = own if own.exists() else common
            self._codes[station.name] = None if file is None else load_feedback(file, model, site.radio_of(number))

    def of(self, station: int) -> FeedbackCode:
        """A station's code.

        Raises:
            NotHereError: it has none.
        """
        found = list(self._codes.values())[station]
        if found is None:
            raise NotHereError(f"feedback: station {station} has no code; make one with uniair adapt SITE --task "
                               "feedback, or give the server one with --feedback FILE")  # fmt: skip
        return found

    @property
    def names(self) -> list[str]:
        """Of the stations that have one."""
        return [name for name, code in self._codes.items() if code is not None]

    def about(self) -> list[dict[str, Any] | None]:
        """Of each station for people; None where it has none."""
        return [
            None if code is None else {"code": code.code.digest, "longest": code.code.longest, "tuned": code.tuned,
                                       "beside": list(code.beside)}
            for code in self._codes.values()
        ]  # fmt: skip
