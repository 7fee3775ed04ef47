"""What a site folder is of: noted before the work begins, so that only the same work goes on in it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from uniair.area import footprints
from uniair.data.links.campaign import load_place
from uniair.data.recipe import RECIPE, traced_over_diagonals
from uniair.data.recipe import note_recipe as note_folder_recipe
from uniair.errors import InputError
from uniair.files import sha256
from uniair.radio import Radio
from uniair.site.plan import read_plan
from uniair.site.site import NOTE
from uniair.site.survey import Survey


def recipe(survey: Survey, **settings: Any) -> dict[str, Any]:
    """The survey as JSON, with its source's checksum: what a site folder is of."""
    digests = [sha256(file) for file in footprints.files(survey.place)]
    if len(digests) > 1:
        digests = [hashlib.sha256(" ".join(digests).encode()).hexdigest()]
    asked = asdict(survey) | {"place": load_place(survey.place, survey.seed).name if digests else survey.place}
    asked["radio"] = survey.radio.to_json()
    if survey.radio == Radio():
        del asked["radio"]  # paper 1's is what a site of the first version has, whose making goes on
    for name in ("users", "sites", "power", "indoor"):
        if asked[name] == getattr(Survey, name, None):
            del asked[name]  # likewise
    if any(text.count(",") > 2 for text in survey.bs):
        asked["azimuth"] = "compass"  # it was the array's line from east
    if survey.sites is not None:
        # what is traced: with other tilts, powers or panels the same paths serve
        asked["sites"] = [
            [mast.name, *mast.plan, mast.height, mast.above_roof, sorted({sector.carrier for sector in mast.sectors})]
            for mast in read_plan(survey.sites).masts
        ]
    if survey.users is not None:
        del asked["ue"]  # nothing is drawn
        asked["users"] = f"sha256:{sha256(Path(survey.users))}"
    source = f"sha256:{digests[0]}" if digests else survey.place
    return dict(json.loads(json.dumps({"survey": asked, "source": source} | settings)))


def note_recipe(folder: Path, made: dict[str, Any]) -> None:
    """Notes in a folder what is made there, or finds that the same was begun, and removes what a killed run left.

    Raises:
        InputError: the folder holds another site, or something else.
    """
    begun = (folder / RECIPE).exists()
    if not begun and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "a site without its recipe" if (folder / NOTE).exists() else "something else"
        raise InputError(f"{folder}: holds {what}; give a new or empty folder as --out")
    note_folder_recipe(folder, made, lambda found: traced_over_diagonals(found, made) or (
        f"another site{_difference(found, made)}; give another --out"
    ))  # fmt: skip
    for unfinished in folder.glob("**/.*.part"):
        unfinished.unlink(missing_ok=True)


def _difference(found: Any, made: dict[str, Any]) -> str:
    """Which settings differ, for the message."""
    if not isinstance(found, dict):
        return ""
    flat = [{**{k: v for k, v in r.items() if k != "survey"}, **(r.get("survey") or {})} for r in (found, made)]
    names = [name for name in flat[1] if flat[0].get(name) != flat[1][name]]
    return f" (other {', '.join(names)})" if names else ""
