"""Releases: what a registry says of each version of a model, a head or a site, and how they are named."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uniair.errors import InputError

FORMAT = "uniair-registry/1"
CATALOGUE = "releases.json"  # the signed file that lists all releases
PREFIX = "registry:"  # of what stands in the place of a folder: registry:NAME@VERSION
NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
LONGEST = 64  # characters of a name
KINDS = ("model", "forecaster", "instruct", "head", "site", "edge")


@dataclass(frozen=True)
class Artefact:
    """What can be released, as it lies on disk.

    Attributes:
        kind: one of `KINDS`.
        weights: digest of the universal model that it holds, or that it goes with; empty where it needs none.
        radio: as JSON; None where it has none.
        says: what it is, a line for people.
        files: name in the release → where it lies.
    """

    kind: str
    weights: str
    radio: dict[str, Any] | None
    says: str
    files: Mapping[str, Path]


@dataclass(frozen=True)
class File:
    """A file of a release.

    Attributes:
        target: its path among the registry's targets; releases of the same content share it.
        bytes, sha256: of its content.
    """

    target: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Release:
    """A version of an artefact, never changed once it is signed.

    Attributes:
        name, version: `NAME@VERSION`; versions count from 1.
        kind, weights, radio, says: see `Artefact`.
        files: by their names in the folder that a node gets.
        made: when it was signed, UTC, ISO 8601.
        uniair: version that made it.
        restores: the earlier version that this one brings back; 0: none.
        note: of who published it.
    """

    name: str
    version: int
    kind: str
    weights: str
    radio: dict[str, Any] | None
    says: str
    files: Mapping[str, File]
    made: str
    uniair: str
    restores: int = 0
    note: str = ""
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        content = json.dumps(sorted((name, file.sha256) for name, file in self.files.items()))
        object.__setattr__(self, "digest", hashlib.sha256(content.encode()).hexdigest()[:16])

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(file.bytes for file in self.files.values())

    def require_weights(self, digest: str) -> None:
        """Raises `InputError` where it holds, or goes with, other weights of the universal model than these."""
        if self.weights != digest:
            raise InputError(
                f"{PREFIX}{self}: is signed for the weights {self.weights or 'of no universal model'}, not for "
                f"{digest}; uniair registry list shows which model has them"
            )

    def to_json(self) -> dict[str, Any]:
        """What the catalogue holds; `from_json` reads it. `digest` follows from the files and is not kept."""
        return {name: value for name, value in asdict(self).items() if name != "digest"}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Release:
        """A release of the catalogue.

        Raises:
            KeyError, TypeError, ValueError: it is none, or names files that lie elsewhere.
        """
        values = dict(entry)
        files = {check_file(name): File(**file) for name, file in values.pop("files").items()}
        found = cls(files=files, **values)
        check_name(found.name)
        datetime.fromisoformat(found.made)
        words = (found.kind, found.weights, found.says, found.uniair, found.note)
        if not all(isinstance(word, str) for word in words) or found.kind not in KINDS or not files:
            raise ValueError(f"{found}: of an unknown kind, or of no files")
        if not all(type(number) is int and number >= 0 for number in (found.version - 1, found.restores)):
            raise ValueError(f"{found.name}: a version that is no number above 0")
        for file in files.values():
            if type(file.bytes) is not int or file.bytes < 0 or not re.fullmatch("[0-9a-f]{64}", file.sha256):
                raise ValueError(f"{found}: a file without length or digest")
        return found


def catalogue(releases: Sequence[Release]) -> bytes:
    """The catalogue's text."""
    document = {"format": FORMAT, "releases": [release.to_json() for release in releases]}
    return (json.dumps(document, indent=1) + "\n").encode()


def read_catalogue(text: bytes | str, where: str) -> tuple[Release, ...]:
    """The releases of a catalogue whose signature holds, oldest first.

    Raises:
        InputError: of another version of uniair, or not a catalogue.
    """
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise InputError(f"{where}: of format {document['format']!r}, this version reads {FORMAT!r}; update uniair")
        found = tuple(map(Release.from_json, document["releases"]))
        if len(set(map(str, found))) < len(found):
            raise ValueError("two releases of one version")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, InputError) and where in str(error):
            raise
        raise InputError(f"{where}: not a catalogue of releases ({error}); ask its keeper") from error
    return found


def newest(releases: Sequence[Release], name: str, version: int | None = None) -> Release:
    """The release of a name, of a version or the last.

    Raises:
        InputError: no such name or version.
    """
    of_name = [release for release in releases if release.name == name]
    if not of_name:
        have = ", ".join(sorted({release.name for release in releases})) or "nothing yet"
        raise InputError(f"{name}: no such name in the registry; it has {have}")
    found = [release for release in of_name if version in (None, release.version)]
    if not found:
        raise InputError(f"{name}@{version}: no such version; the registry has {name}@1 to {of_name[-1]}")
    return max(found, key=lambda release: release.version)


def check_name(name: str) -> str:
    """A name as it is.

    Raises:
        InputError: one that could not be part of a path or an address.
    """
    if not isinstance(name, str) or len(name) > LONGEST or not NAME.fullmatch(name):
        raise InputError(
            f"name {name!r:.80}: takes small letters and digits, single . _ - between them, "
            f"at most {LONGEST} characters"
        )
    return name


def check_file(name: str) -> str:
    """The name of a file within a release, with / between folders.

    Raises:
        InputError: one that leads out of the folder, is hidden, or that some system can't write.
    """
    parts = name.split("/")
    if any(not part or part[0] in ". " or part[-1] in ". " for part in parts) or re.search(
        r'[\x00-\x1f\\:*?"<>|]', name
    ):
        raise InputError(f"file {name!r:.80}: no name of a file of a release; it would lie elsewhere, or nowhere")
    return name


def parse(text: str) -> tuple[str, int | None]:
    """Name and version of `NAME`, `NAME@VERSION`, either after `registry:` or not.

    Raises:
        InputError: neither.
    """
    name, at, version = text.removeprefix(PREFIX).partition("@")
    check_name(name)
    if at and not (version.isascii() and version.isdecimal() and int(version[:9]) > 0 and len(version) < 10):
        raise InputError(f"{text}: the version {version!r} is no number from 1; such as {name}@1")
    return name, int(version) if at else None


def now() -> datetime:
    """This machine's clock, UTC, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)
