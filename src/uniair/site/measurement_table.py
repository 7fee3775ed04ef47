"""Tables of measurements as programs write them: Excel of any country, pandas, drive-test tools, NumPy, Parquet.

A text table says neither its separator nor its decimal sign, and both are wrong in silence where they are guessed from
one cell. The separator is the one that makes every row as wide as the header; the decimal sign is that of the whole
file, and where a cell that is read could be either the table is refused.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.data.csi_files import reading
from uniair.errors import InputError

SEPARATORS = ",;\t|"
TEXT = (".csv", ".tsv", ".txt")
KINDS = ".npz, .csv, .parquet or a folder of .npy files"
UNITS = re.compile(r"\s*(dbm|db|m|°|deg)$", re.IGNORECASE)
MISSING = ("", "-", "nan", "na", "n/a", "#n/a", "null", "none", "nat", "#value!", "#div/0!")
YES, NO = ("true", "yes", "y", "los", "wahr", "vrai"), ("false", "no", "n", "nlos", "falsch", "faux")
EITHER = re.compile(r"[+-]?\d{1,3}(,\d{3})+")  # thousands, or three decimals
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
POINTED = re.compile(r"[+-]?\d{1,3}(\.\d{3})+")
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+\.\d*")
DOTTED_THOUSANDS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+,\d*")


@dataclass(frozen=True)
class Table:
    """The columns of a table.

    Attributes:
        path: of its file.
        columns: name as written → [N] values, text where the file is text.
        comma: the decimal sign of its text is a comma; None: cells of it contradict each other, or could be either.
    """

    path: Path
    columns: dict[str, NDArray[Any]]
    comma: bool | None = False

    def numbers(self, name: str, gaps: bool = False) -> NDArray[np.float64]:
        """A column as numbers [N]; yes and no are 1 and 0, decimal signs and units those of its writer.

        Args:
            gaps: cells may be empty: NaN.

        Raises:
            InputError: several numbers a row, text, or NaN where there may be no gaps.
        """
        values = self.columns[name]
        if values.ndim != 1:
            raise InputError(f"{self.path}: column {name} has shape {values.shape}, expected one number a row")
        if values.dtype.kind in "OUS":
            values = np.array([self._number(name, i, value) for i, value in enumerate(values.tolist())])
        elif values.dtype.kind not in "biuf":
            raise InputError(f"{self.path}: column {name} is {values.dtype}, which is not a number; leave it out")
        out = values.astype(np.float64)
        if not gaps and not np.isfinite(out).all():
            i = int(np.argmin(np.isfinite(out)))
            raise InputError(f"{self.path}: column {name} is NaN or infinite in row {i + 1}; leave such rows out")
        return out

    def _number(self, name: str, row: int, value: Any) -> float:
        if value is None or not isinstance(value, str | bytes):
            return float("nan") if value is None else float(value)
        said = value.decode("latin1") if isinstance(value, bytes) else value
        text = UNITS.sub("", said.strip()).replace("−", "-").replace("\u202f", "").replace("\xa0", "").lower()
        if text in MISSING:
            return float("nan")
        if text in YES or text in NO:
            return float(text in YES)
        unclear = "," in text if self.comma is None else self.comma and POINTED.fullmatch(text)
        if unclear and (EITHER.fullmatch(text.replace(".", ",")) or self.comma is None):
            raise InputError(
                f"{self.path}: column {name} holds {said.strip()[:40]} in row {row + 1}: thousands or decimals? write "
                "decimals with one sign in the whole table, and no marks of thousands"
            )
        try:
            return float(_plain(text, bool(self.comma)))
        except ValueError as error:
            raise InputError(
                f"{self.path}: column {name} holds {said[:40]!r} in row {row + 1}, which is not a number; fill or "
                "leave it out"
            ) from error


def _plain(text: str, comma: bool) -> str:
    """A number with a point, and without marks of thousands."""
    if comma:
        return text.replace(".", "").replace(",", ".") if "," in text else text
    return text.replace(",", "") if THOUSANDS.fullmatch(text) or EITHER.fullmatch(text) else text


def read_table(path: Path) -> Table:
    """The columns of a file of measurements; what a text table means by its signs is found out from all of it.

    Raises:
        InputError: missing, not one of these formats, broken, without a header, rows that are wider than it, or
            two columns of one name.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; give {KINDS}")
    suffix = path.suffix.lower()
    with reading(path):
        if path.is_dir():
            return Table(path, {file.stem: np.load(file, allow_pickle=False) for file in sorted(path.glob("*.npy"))})
        if suffix == ".npz":
            # opened here, because NumPy leaves a broken file open
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return Table(path, {name: arrays[name] for name in arrays.files})
        if suffix == ".parquet":
            return Table(path, _parquet(path))
        if suffix in TEXT:
            return _text_table(path)
    more = "; save the sheet as CSV" if suffix in (".xlsx", ".xls", ".ods") else ""
    raise InputError(f"{path}: not a table of measurements; use {KINDS}{more}")


def _text_table(path: Path) -> Table:
    text = _decoded(path)
    said = re.match(r"sep=(.)\r?\n", text)  # Excel's own way to say it
    if said is not None:
        text = text[said.end() :]
    separator = said[1] if said is not None else _separator(text)
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator, strict=True) if any(map(str.strip, row))]
    header = [name.strip() for name in rows[0]] if rows else []
    cells = rows[1:]
    if header and all(re.fullmatch(r"[+-]?[\d.,]+", name) for name in header):
        raise InputError(f"{path}: its first line is numbers; name the columns there, x,y,beam for instance")
    for number, row in enumerate(cells, start=1):
        if len(row) > len(header) and any(map(str.strip, row[len(header) :])):
            raise InputError(
                f"{path}: row {number} has {len(row)} cells, the header {len(header)}; decimal commas need quotes or "
                "semicolons between cells, and text with commas needs quotes"
            )
    named = [name for name in header if name]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise InputError(f"{path}: has two columns {twice}; rename or delete one")
    comma = _decimal_comma(cells, separator)
    padded = [row + [""] * (len(header) - len(row)) for row in cells]
    # columns without a name apart, so that none hides another
    names = [name or f"Unnamed: {i}" for i, name in enumerate(header)]
    columns: dict[str, NDArray[Any]] = {
        name: np.array([row[i] for row in padded], dtype=object) for i, name in enumerate(names)
    }
    return Table(path, columns, comma)


def _decoded(path: Path) -> str:
    """The text of a file in UTF-8 or UTF-16, as its first bytes say, or in Windows' own alphabet."""
    data = path.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252")  # Excel's CSV in the west of Europe; the numbers are the same in its relatives


def _separator(text: str) -> str:
    """What stands between cells: of those in the header the one that cuts most rows as often as the header."""
    lines = [line for line in text.splitlines() if line.strip()][:50]
    if not lines:
        return ","

    def fits(mark: str) -> tuple[int, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=mark)]
        return (sum(width == widths[0] for width in widths) if widths[0] > 1 else 0, widths[0])

    return max(SEPARATORS, key=fits)


def _decimal_comma(rows: list[list[str]], separator: str) -> bool | None:
    """Whether the table writes decimals with a comma; None where that is not clear from all its cells together."""
    cells = [UNITS.sub("", cell.strip()).replace("−", "-") for row in rows for cell in row if "," in cell]
    decimal = any(
        (DECIMAL_COMMA.fullmatch(cell) and not EITHER.fullmatch(cell)) or DOTTED_THOUSANDS.fullmatch(cell)
        for cell in cells
    )
    thousands = any(THOUSANDS.fullmatch(cell) for cell in cells)
    if decimal != thousands:
        return decimal
    if decimal:
        return None
    if any(EITHER.fullmatch(cell) for cell in cells):
        return None if separator == "," else True  # who separates cells by semicolons does so for the commas in them
    return False


def _parquet(path: Path) -> dict[str, NDArray[Any]]:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError as error:
        raise InputError(f"{path}: Parquet needs pyarrow: pip install pyarrow, or give CSV or .npz") from error
    table = parquet.read_table(path)
    return {name: table.column(name).to_numpy() for name in table.column_names}
