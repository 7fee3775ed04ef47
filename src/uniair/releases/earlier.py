"""The weights that were packaged before, and how to have them again."""

from __future__ import annotations

FIRST = "dcf115dac2ccf954"  # digest of the first version's `small`
COMMITS = {FIRST: "cf55874", "c019d92569010c30": "2694c75"}  # that hold them, by digest
ABOUT = {FIRST: " and knew paper 1's radio alone"}
FOLDER = "src/uniair/weights/small"


def way_back(weights: str) -> str:
    """What a refusal of something that learned on other weights adds, if they were packaged once."""
    if weights not in COMMITS:
        return ""
    return (
        f"; those were packaged once{ABOUT.get(weights, '')}: in a clone of uniair, `mkdir OLD && git archive "
        f"{COMMITS[weights]} {FOLDER} | tar x -C OLD` brings them back, for --model OLD/{FOLDER}"
    )
