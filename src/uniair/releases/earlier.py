"""The weights that the first version packaged, and how to have them again."""

from __future__ import annotations

FIRST = "dcf115dac2ccf954"  # digest of its `small`
COMMIT, FOLDER = "cf55874", "src/uniair/weights/small"


def way_back(weights: str) -> str:
    """What a refusal of something that learned on other weights adds, if they were those of the first version."""
    if weights != FIRST:
        return ""
    return (
        "; those were packaged once and knew paper 1's radio alone: in a clone of uniair, `mkdir OLD && git archive "
        f"{COMMIT} {FOLDER} | tar x -C OLD` brings them back, for --model OLD/{FOLDER}"
    )
