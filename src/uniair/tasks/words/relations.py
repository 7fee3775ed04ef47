"""Users and places that are told by where they stand beside others: asked back, as numbers and metres alone tell."""

from __future__ import annotations

from collections.abc import Sequence

from uniair.tasks.scene import Scene
from uniair.tasks.words.marked import Marked
from uniair.tasks.words.quantities import EXAMPLE
from uniair.tasks.words.references import Mention

_NOUNS = {"U": "user", "K": "user", "S": "station"}
_NAMED = ("user", "station")


def directions(marked: Marked) -> None:
    """Doubts a direction from a station or user, as in "45 m north of bs0"; positions count from the corner."""
    for match in marked.find("[ERW]+pd?b?(?:[STV]|[UK][#:]*[N1])"):
        if marked.tokens[match.start()].text in ("west", "south", "east", "north", "eastwards", "northwards", "e", "n"):
            _doubt_position(marked, match.start(), match.end())
    for match in marked.find("[)ERMu][ p]* p(?:[ST]|[UK][#:]*[N1])"):  # (100 m, 50 m) measured from bs1
        if marked.has("counting", match.end() - 3, match.end() - 2):
            _doubt_position(marked, match.start(), match.end())
    for match in marked.find("(?:[ST]|[UK][#:]*[N1])&\\([NM]"):
        if "and" not in marked.texts[match.start() : match.end()]:
            _doubt_position(marked, match.start(), match.end())


def neighbours(marked: Marked, scene: Scene, mentions: Sequence[Mention]) -> None:
    """Doubts what is told by standing next to, before or after what is named: "the user before user 5"."""
    for mention in mentions:
        at = mention.start
        while at and not marked.roles[at - 1] and marked.tags[at - 1] in "dpb>":
            at -= 1
        if at < mention.start and marked.has("beside", at, at + 1):
            at += 1
        if not at or marked.roles[at - 1] or not marked.has("beside", at - 1, at):
            continue
        noun = at - 2
        while noun >= 0 and not marked.roles[noun] and (
            marked.tags[noun] == "d" or any(marked.has(name, noun, noun + 1) for name in ("auxiliaries", "beside"))
        ):  # fmt: skip
            noun -= 1
        kind = _NOUNS.get(marked.tags[noun]) if noun >= 0 and marked.roles[noun] in ("", *_NAMED) else None
        start, stop = (noun if kind else at - 1), mention.end
        if kind and not marked.roles[noun]:
            known = scene.said_users if kind == "user" else scene.said_stations
            choices = scene.stations if kind == "station" else ()
            marked.doubt(start, kind, f"{marked.said(start, stop)!r}: which {kind} is that? I know {known}", choices)
        elif marked.has("ordering", at - 1, at):
            marked.refuse(start, stop)
        else:
            _doubt_position(marked, start, stop)


def descriptions(marked: Marked, scene: Scene) -> list[int]:
    """Doubts a user who is told by what is true of him, as "the user who sees bs1" is; their tokens."""
    found = []
    for match in marked.find("U"):
        at = match.end()
        if at < len(marked.tags) and marked.has("telling", at, at + 1) and _is_told(marked, at + 1):
            said = marked.said(match.start(), min(at + 2, len(marked.tags)))
            marked.doubt(match.start(), "user", f"{said!r}: which user is that? I know {scene.said_users}")
            found.append(match.start())
    return found


def _is_told(marked: Marked, at: int) -> bool:
    """Whether words of an answer follow."""
    while at < len(marked.tags) and marked.tags[at] not in ".,&":
        if marked.is_cue(at) and not marked.roles[at]:
            return True
        at += 1
    return False


def _doubt_position(marked: Marked, start: int, stop: int) -> None:
    said = marked.said(start, stop)
    marked.doubt(start, "position", f"{said!r}: give x and y in m from the south-west corner, such as {EXAMPLE}")
