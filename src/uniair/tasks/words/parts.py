"""Parts of all users or stations that no numbers name: refused by name, or asked back."""

from __future__ import annotations

from uniair.tasks.scene import Scene
from uniair.tasks.words.marked import Marked

_WHY = "name them by their numbers"
_BETWEEN = ("of", "numbered", "indexed", "number", "index", "my", "our", "your", "known", "base", "other")
# counted from the end: second to last, next to last, third from last; the last but one
_FROM_THE_END = "(?:O[>p]?|[ p]>)d?L(?![UKS]*[#:]*[N1])|L 1|Ld? 1"
_NOUN = {"U": "user", "S": "station"}


def refuse(marked: Marked, scene: Scene) -> None:
    """Refuses every second, odd, most, a few, some five, the last but one and their like."""
    _from_the_end(marked)
    for at, tag in enumerate(marked.tags):
        if tag not in "USB" or marked.roles[at] or (tag != "B" and _is_numbered(marked, at)):
            continue
        start = _start(marked, at, {"U": scene.users, "S": len(scene.stations)}.get(tag, 0))
        if start < at:
            marked.refuse(start, at + 1, _WHY if tag != "B" else "I tell the best beams")


def doubt_plurals(marked: Marked, scene: Scene) -> None:
    """Asks which ones are meant by "the users" or "stations" where there are several and nothing names any."""
    many = {"U": scene.users > 1 and scene.here[1] is not None, "S": len(scene.stations) > 1}
    known = {"U": scene.said_users, "S": scene.said_stations}
    for at, tag in enumerate(marked.tags):
        said = marked.text[marked.tokens[at].start : marked.tokens[at].end].lower()
        plural = said.endswith("s") and "'" not in said and said not in ("ms", "bs", "s")
        if tag not in "US" or not many[tag] or marked.roles[at] or not plural or not marked.has("plurals", at, at + 1):
            continue
        if _NOUN[tag] in marked.roles or "position" in marked.roles or _one_of(marked, at):
            continue
        choices = scene.stations if tag == "S" else ()
        marked.doubt(at, _NOUN[tag], f"{said!r}: which of them? I know {known[tag]}", choices)


def _from_the_end(marked: Marked) -> None:
    for match in marked.find(_FROM_THE_END):
        start, stop = match.span()
        words = marked.texts[start:stop]
        if (match[0][0] == "L" and "but" not in words) or (match[0][0] in " p" and words[0] != "next"):
            continue
        while stop < len(marked.tags) and marked.tags[stop] in "dpb1":
            stop += 1
        if stop < len(marked.tags) and marked.tags[stop] in "USB":
            marked.refuse(start, stop + 1, _WHY)


def _is_numbered(marked: Marked, at: int) -> bool:
    """Whether numbers or names follow: "the two users 3 and 4"."""
    after = at + 1
    while after < len(marked.tags) and marked.tags[after] in "#:p,(":
        after += 1
    return after < len(marked.tags) and marked.tags[after] in "N1TV"


def _start(marked: Marked, at: int, count: int) -> int:
    """Where a part of a noun's set starts; the noun itself where there is none."""
    noun, before = marked.tags[at], at - 1
    while before >= 0 and not marked.roles[before] and (
        marked.tags[before] in "db" or marked.tokens[before].text in _BETWEEN
    ):  # fmt: skip
        before -= 1
    if before < 0 or marked.roles[before]:
        return at
    tag, first = marked.tags[before], marked.tags[before - 1] if before else ""
    if tag in "Oo" and first == "a":  # every second
        return before - 1
    if marked.has("fractions", before, before + 1):
        if tag == "m" and noun == "B" and before + 1 < at and marked.tags[before + 1] == "t":
            return at
        while before and marked.has("fractions", before - 1, before):
            before -= 1
        if before and marked.tags[before - 1] == "N" and not marked.tokens[before - 1].unit:
            before -= 1  # three random users
        return before
    if tag == "N" and first == "t":  # top 3 users
        return before - 1 if noun != "B" else at
    counted = tag == "N" and noun != "B" and marked.tokens[before].value != count and not marked.tokens[before].unit
    return before if counted and first not in tuple("awOLUKS#") else at


def _one_of(marked: Marked, at: int) -> bool:
    """Whether it is one of them, as "one of my users" is."""
    return bool({"one", "each", "every", "all"} & set(marked.texts[max(0, at - 3) : at]))
