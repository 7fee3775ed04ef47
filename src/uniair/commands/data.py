"""Check a data set, file by file, and write its data card.

DIR is a folder of links (uniair trace, uniair import), a folder of measured drives (uniair import deepsense), or one
file of drives. A damaged data set, or one that breaks the sample contract, is refused. What the contract allows but
physics does not is counted and listed. card.html (to look at) and card.json are written beside the data.

Example:
  uniair data check runs/links
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.benchmark.data_card import write_data_card


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("action", choices=["check"], help="what to do")
    parser.add_argument("folder", metavar="DIR", type=str, help="folder of links or drives, or a file of drives")


def run(options: Any) -> dict[str, Any]:
    """Checks and prints the counts."""
    folder = Path(options.folder)
    card = write_data_card(folder)
    for line in table(card["statistics"]):
        print(line)
    for finding in card["findings"].values():
        print(f"suspicious: {finding['count']:,} {finding['what']} (e.g. {', '.join(finding['examples'])})")
    if not card["findings"]:
        print("checksums, contract and physics hold")
    print(f"→ {(folder.parent if folder.is_file() else folder) / 'card.html'}")
    return card


def table(statistics: dict[str, Any]) -> list[str]:
    """The counts of each place or scenario, and of all."""
    if "places" in statistics:
        rows = [*statistics["places"].items(), ("all", statistics)]
        head = f"{'place':24} {'areas':>7} {'links':>9} {'LOS, %':>7} {'paths a link':>13}"
        return [head] + [
            f"{name:24} {row['areas']:7,} {row['links']:9,} "
            + (f"{100 * row['los_share']:7.1f} {row['paths_a_link']:13.1f}" if row["links"] else f"{'–':>7} {'–':>13}")
            for name, row in rows
        ]
    rows = list(statistics["scenarios"].items())
    columns = ("drives", "samples", "located", "lost")
    rows.append(("all", {column: sum(row[column] for _, row in rows) for column in columns}))
    head = f"{'scenario':24} {'drives':>7} {'samples':>9} {'with position':>14} {'without beam':>13}"
    return [head] + [
        f"{name:24} {r['drives']:7,} {r['samples']:9,} {r['located']:14,} {r['lost']:13,}" for name, r in rows
    ]
