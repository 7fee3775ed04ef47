"""Self-contained HTML pages: the look that the zero-shot report and the data card share."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uniair.files import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BS, UE, CHANNEL, GROUND = "#d1495b", "#00798c", "#edae49", "#4a4e69"

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body{{font:16px/1.5 system-ui,sans-serif;color:#222;margin:0 auto;max-width:62rem;padding:1rem}}
h1{{margin-bottom:0}}h2{{margin:2.5rem 0 .2rem}}p{{margin:.2rem 0 .8rem;color:#555}}img{{max-width:100%;height:auto}}
table{{border-collapse:collapse}}
td,th{{padding:.25rem .9rem .25rem 0;text-align:right;font-variant-numeric:tabular-nums}}
td:first-child,th:first-child{{text-align:left}}tr{{border-bottom:1px solid #ddd}}th{{color:#555;font-weight:500}}
.wide{{overflow-x:auto}}.wide td,.wide th{{font-size:.85rem;white-space:nowrap}}
table.text td{{text-align:left;vertical-align:top;overflow-wrap:anywhere}}
pre{{background:#f4f4f4;padding:.6rem .8rem;white-space:pre-wrap;overflow-wrap:anywhere}}
footer{{margin-top:3rem;color:#777;font-size:.85rem}}
</style><h1>{title}</h1><p>{subtitle}</p>{body}<footer>{footer}</footer></html>
"""


def write_page(path: Path, title: str, subtitle: str, sections: Iterable[tuple[str, str, str]], footer: str) -> None:
    """Writes one HTML file.

    Args:
        sections: heading, a line of explanation, and the content as HTML; all other text is plain.
    """
    body = "".join(
        f"<section><h2>{html.escape(t)}</h2><p>{html.escape(c)}</p>{content}</section>" for t, c, content in sections
    )
    plain = {"title": title, "subtitle": subtitle, "footer": footer}
    write_text(path, _PAGE.format(body=body, **{name: html.escape(text) for name, text in plain.items()}))


def table(head: Iterable[str], rows: Iterable[Iterable[str]], style: str = "") -> str:
    """A table as HTML; the cells are plain text."""

    def line(cells: Iterable[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f'<table class="{style}">' + line(head, "th") + "".join(line(row, "td") for row in rows) + "</table>"


def bullets(lines: Iterable[str]) -> str:
    """A list as HTML; the lines are plain text."""
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def plain(value: Any) -> str:
    """A setting as people write it."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {plain(one)}" for key, one in value.items())
    if isinstance(value, list):
        return "; ".join(map(plain, value))
    return "none" if value is None else str(value)


def png(drawing: Figure, about: str = "") -> str:
    """A drawing as an image that is part of the page; `about` is for those who can't see it."""
    buffer = io.BytesIO()
    cut = None if drawing.get_layout_engine() else "tight"  # a layout leaves no margin to look for
    drawing.savefig(buffer, format="png", dpi=110, bbox_inches=cut, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(about)}" src="data:image/png;base64,{data}">'


def draw_map(axes: Axes, occupancy: NDArray[np.uint8], size: float) -> None:
    """Buildings in grey, metres on both axes, y upwards."""
    axes.imshow(
        occupancy, origin="lower", extent=(0, size, 0, size), cmap="Greys", vmin=0, vmax=2, interpolation="nearest"
    )
    axes.set(xlabel="x, m", ylabel="y, m", xlim=(0, size), ylim=(0, size))
