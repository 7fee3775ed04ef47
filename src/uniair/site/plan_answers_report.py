"""What a model answers about a plan, as sections of its report and tables of its card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from uniair.evaluation.html import bullets
from uniair.evaluation.html import table as html_table
from uniair.evaluation.tables import Table
from uniair.site import plan_answers, several_sectors
from uniair.site.plan_report import Section
from uniair.site.site import Site
from uniair.site.site_tables import task_table, zero_shot_table
from uniair.tasks.registry import TASKS


def sections(site: Site, found: Mapping[str, Any]) -> list[Section]:
    """Of the report: what lies within what the weights learned from, positions by several sectors, each sector.

    Args:
        found: see `plan_answers.ask`.
    """
    about = (
        f"Channels of the panels' elements as traced, without noise: {' | '.join(plan_answers.radios(found))}."
        " Electrical tilt is in the beams that are sent, and not in these channels."
    )
    out: list[Section] = [(f"What {found['model']} is asked", about, bullets(plan_answers.lines(found)))]
    for heading, one in tables(site, found):
        explained = (
            "The strongest sectors first, the same users in every column, in streets that nothing learned from."
            if heading == POSITIONS else "On blocks of 20 m that no head learned from."
        )  # fmt: skip
        content = html_table(one.head, one.rows) + "<p></p>"
        if out[-1][0] == heading:
            out[-1] = (heading, out[-1][1], out[-1][2] + content)
        else:
            out.append((heading, explained, content))
    return out


POSITIONS = "Positions by one, two and three sectors"


def tables(site: Site, found: Mapping[str, Any]) -> Iterator[tuple[str, Table]]:
    """Heading and table, one after the other."""
    if found["positions"] is not None:
        yield POSITIONS, several_sectors.table(found["positions"])
    for number, (name, one) in enumerate(found["sectors"].items()):
        if "rows" not in one:
            continue
        heading = f"{name}: what the model answers"
        if "zero_shot" in one:
            yield heading, zero_shot_table(one["zero_shot"], one["position"])
        there = {row["task"] for row in one["rows"]}
        for task in TASKS:
            if task in there:
                yield heading, task_table(one["rows"], task, site.radio_of(number))
