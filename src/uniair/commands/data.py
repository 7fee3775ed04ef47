"""Check a data set and write its data card; or write its CSI as one array, for other models to embed.

check: DIR is a folder of links (uniair trace, uniair import), a folder of measured drives (uniair import deepsense), or
one file of drives. A damaged data set, or one that breaks the sample contract, is refused. What the contract allows but
physics does not is counted and listed. card.html (to look at) and card.json are written beside the data.

csi: DIR is a folder of links of one radio. --out becomes complex64 [links, antennas, subcarriers]; a model's embeddings
of its rows, in their order, are what uniair bench fewshot --embeddings reads.

Example:
  uniair data check runs/links
  uniair data csi runs/deepmimo --out csi.npy --bearing -225    # −90° − 135°: the few-shot protocol's
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.benchmark.embeddings import export_csi
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.evaluation.data_card import write_data_card


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("action", choices=["check", "csi"], help="what to do")
    parser.add_argument("folder", metavar="DIR", type=str, help="folder of links or drives, or a file of drives")
    parser.add_argument("--out", type=str | None, default=None, help="csi: the .npy file to write")
    parser.add_argument("--bearing", type=float | None, default=None,
                        help="csi: azimuth of every BS's array, degrees from +x, instead of its own")  # fmt: skip


def run(options: Any) -> dict[str, Any]:
    """Checks and prints the counts, or writes the CSI."""
    folder = Path(options.folder)
    if options.action == "csi":
        if options.out is None:
            raise InputError("csi needs --out, the .npy file to write")
        bearing = None if options.bearing is None else math.radians(options.bearing)
        shape = export_csi(Store(folder), Path(options.out), bearing)
        print(f"{options.out}: complex64 {list(shape)}")
        return {"out": options.out, "shape": list(shape)}
    card = write_data_card(folder)
    for line in table(card["statistics"]):
        print(line)
    for seen in card["statistics"].get("radios", ()):
        print(f"radio: {seen['says']}; {seen['areas']:,} area{'s' * (seen['areas'] != 1)}")
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
        head = f"{'place':24} {'areas':>7} {'links':>9} {'LOS, %':>7} {'paths per link':>13}"
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
