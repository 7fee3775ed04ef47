"""Where DeepMIMO scenarios lie: folders, folders of them, zips, and the scenes of a dynamic scenario, one place."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from uniair.data.links.deepmimo_arrays import AGAIN, reading
from uniair.errors import InputError

V3_FILE = re.compile(r"BS(\d+)_UE_(\d+)-(\d+)\.mat")
V4_FILE = re.compile(r"([a-z_]+)_(t(\d+)_tx(\d+)_r(\d+))\.(npz|npy|mat)")
V2_FILE = re.compile(r".+\.(params|CIR|DoD|DoA|Loc|PL|LoS)(\.\d+)?\.mat", re.IGNORECASE)
SCENE = re.compile(r"(?:(.+)[ _-])?scene[ _-]?(\d+)", re.IGNORECASE)
PARAMETERS = ("params.json", "params.mat")
DEPTH = 3  # folders within each other: a zip of a folder of a dynamic scenario's scenes
LEFT = 1 << 30  # bytes of a disk that unpacking must not take


@dataclass(frozen=True)
class Scenario:
    """One scenario, or one scene of a dynamic scenario.

    Attributes:
        folder: of its files.
        version: 3 or 4.
        place: what splits keep together: its own name, or of a scene the folder that holds it.
        area: its name, `place/…`.
    """

    folder: Path
    version: int
    place: str
    area: str

    @property
    def is_scene(self) -> bool:
        """Whether it is one moment of a place."""
        return self.place != self.folder.name


def scenarios(source: Path) -> list[Scenario]:
    """The scenarios in a folder, sorted by name; those within a scenario are not looked for.

    Raises:
        InputError: no such folder, none there, or the layout of version 2.
    """
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; give the folder of a DeepMIMO scenario, or its zip")
    older: list[Path] = []
    with reading(source):
        found = _within(source, DEPTH, older)
    if not found and older:
        raise InputError(
            f"{older[0].parent}: a scenario of DeepMIMO v2 ({older[0].name}), whose files are not read; download it of "
            "version 3 or 4"
        )
    if not found:
        packed = next(source.glob("*.zip"), None)
        advice = f"give {packed}" if packed else "unpack one here"
        raise InputError(f"{source}: no DeepMIMO scenario in it (BS1_UE_….mat or power_t000_….npz); {advice}")
    return found


def _within(folder: Path, depth: int, older: list[Path]) -> list[Scenario]:
    entries = sorted(folder.iterdir(), key=lambda path: [int(s) if s.isdigit() else s for s in _parts(path.name)])
    names = [path.name for path in entries]
    if any(V4_FILE.fullmatch(name) for name in names):  # first: older v4 scenarios have a params.mat too
        return [_scenario(folder, 4)]
    if any(V3_FILE.fullmatch(name) for name in names):
        return [_scenario(folder, 3)]
    older += [path for path in entries if V2_FILE.fullmatch(path.name)]
    inside = [path for path in entries if path.is_dir() and not path.name.startswith((".", "__"))] if depth else []
    found = [scenario for path in inside for scenario in _within(path, depth - 1, older)]
    if not found and "params.mat" in names:  # of version 3 without its users: the reader says which are missing
        return [_scenario(folder, 3)]
    return found


def _scenario(folder: Path, version: int) -> Scenario:
    match = SCENE.fullmatch(folder.name)
    if match is not None:
        place = match[1] or folder.parent.name
        return Scenario(folder, version, place, f"{place}/{int(match[2]):05d}")
    beside = any((folder.parent / name).is_file() for name in PARAMETERS)
    if beside or _scenes(folder / "params.json") > 1:
        return Scenario(folder, version, folder.parent.name, f"{folder.parent.name}/{folder.name}")
    return Scenario(folder, version, folder.name, f"{folder.name}/00000")


def _scenes(params: Path) -> int:
    """How many scenes a scenario's parameters tell of."""
    try:
        return int(json.loads(params.read_text(encoding="utf-8"))["scene"]["num_scenes"])
    except (OSError, ValueError, LookupError, TypeError):  # whatever is wrong with it, the reader of the radio says
        return 1


def _parts(name: str) -> list[str]:
    """Digits and what is between them, so that scene_10 follows scene_9."""
    return re.findall(r"\d+|\D+", name)


@contextmanager
def unpacked(source: Path) -> Iterator[Path]:
    """The folder itself, or that of what a zip holds, which goes when the block ends.

    Raises:
        InputError: a zip that is broken, or larger than the disk has room for.
    """
    if not (source.is_file() and zipfile.is_zipfile(source)):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="uniair-") as room:
        target = Path(room) / source.stem
        try:
            with zipfile.ZipFile(source) as archive:
                size = sum(member.file_size for member in archive.infolist())
                if size > shutil.disk_usage(room).free - LEFT:
                    raise InputError(
                        f"{source}: unpacks to {size >> 20:,} MB, more than {room} has room for; unpack it elsewhere"
                    )
                archive.extractall(target)
        except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
            raise InputError(f"{source}: a zip that can't be unpacked ({error}); {AGAIN}") from error
        try:
            yield target
        except InputError as error:  # named by what was given, which stays
            raise InputError(str(error).replace(str(target), str(source))) from error
