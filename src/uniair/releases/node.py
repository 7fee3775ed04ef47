"""The node's side of a registry: whom it trusts, what it has pulled, and that nothing else is loaded where it must not.

A node is given the registry's root file once. `pull` follows TUF's client workflow (specification 5): newer roots by
the older ones' keys, the timestamp, what that names, and each file's length and digest; nothing older than what was
seen, nothing expired. What was pulled stays, version beside version, and is verified again whenever it is loaded,
without a network: the signatures that were checked when it was pulled lie beside it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniair.errors import InputError
from uniair.files import sha256, write_text
from uniair.folder_lock import alone_in
from uniair.releases.keys import require_tuf
from uniair.releases.release import CATALOGUE, PREFIX, Release, newest, now, parse, read_catalogue
from uniair.releases.repository import METADATA, SIGNED, TARGETS
from uniair.releases.signatures import last_root, verified

if TYPE_CHECKING:
    from tuf.ngclient import Updater

HOME = "UNIAIR_REGISTRY"  # the folder of a node, where it is not the usual one
FORMAT = "uniair-node/1"
TRUST, ROOT, SEEN, RELEASES, KEY = "trust.json", "root.json", "signed.json", "releases", "own.key"
KEY_BYTES = 32
PACKAGE = Path(__file__).parents[1]  # weights that came with the library are as trusted as its code
BEHIND = timedelta(minutes=5)  # by which a clock may be late
CLOCK = "If this node's clock ({now:%Y-%m-%d %H:%M} UTC) is wrong, set it"
PART = ".{}.part"  # the folder of a version that is not whole yet
Check = Callable[[Release, Path], None]


def home() -> Path:
    """The folder of this machine's node: the variable `UNIAIR_REGISTRY`, or one of the user's."""
    if given := os.environ.get(HOME):
        return Path(given)
    return Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "uniair" / "registry"


@dataclass(frozen=True)
class Node:
    """A machine that pulls from one registry.

    Attributes:
        folder: where it keeps what it pulled and why it trusts that.
        registry: address, `http(s)://` or `file://`.
        signed_only: whether weights that are not of a release are refused.
    """

    folder: Path
    registry: str
    signed_only: bool = False

    @classmethod
    def here(cls) -> Node | None:
        """This machine's node; None where it trusts no registry.

        Raises:
            InputError: what is noted of it is broken.
        """
        folder = home()
        path = folder / TRUST
        if not path.exists():
            return None
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != FORMAT or type(document["signed_only"]) is not bool:
                raise ValueError(f"of format {document['format']!r}, this version reads {FORMAT!r}")
            return cls(folder, str(document["registry"]), document["signed_only"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{path}: not to be read ({error}); trust the registry again (uniair registry trust)"
            ) from error

    @classmethod
    def required(cls) -> Node:
        """The same.

        Raises:
            InputError: as `here`, it trusts none, or python-tuf is missing.
        """
        require_tuf()
        found = cls.here()
        if found is None:
            raise InputError(
                "this node trusts no registry; get its root file from its keeper, then: "
                "uniair registry trust REGISTRY --root root.json"
            )
        return found

    @classmethod
    def trust(cls, registry: str, root: Path, signed_only: bool = False) -> Node:
        """Remembers a registry and its root, once the one has been verified by the other.

        Args:
            registry: address, as `fetching.address` gives it.

        Raises:
            InputError: no root file, another registry is trusted already, or as `refresh`.
        """
        require_tuf()
        try:
            given = root.read_bytes()
        except OSError as error:
            raise InputError(f"--root {root}: not to be read ({error.strerror})") from error
        folder = home()
        with alone_in(folder):
            if (folder / TRUST).exists() and (folder / ROOT).read_bytes() != given:
                raise InputError(
                    f"{folder}: this node trusts another root already; remove the folder to begin anew, or name "
                    f"another one by the variable {HOME}"
                )
            node = cls(folder, registry, signed_only)
            if (folder / TRUST).exists():  # the same registry, at another address or with another rule
                node._seen()
                node._note()
            elif folder.exists() and any(folder.iterdir()):
                raise InputError(f"{folder}: holds something else; name another folder by the variable {HOME}")
            else:
                with _whole(folder) as new:
                    fresh = cls(new, registry, signed_only)
                    (new / ROOT).write_bytes(given)
                    fresh._seen()
                    fresh._note()
        return node

    def refresh(self) -> tuple[Release, ...]:
        """What the registry has now, verified, oldest first.

        Raises:
            InputError: it can't be reached, a signature or a digest doesn't hold, is older than what was seen, or has
                expired; or this node's clock is wrong.
        """
        with alone_in(self.folder):
            return self._seen()[1]

    def releases(self) -> tuple[Release, ...]:
        """What the registry had when it was last asked, verified again; needs no network.

        Raises:
            InputError: what was kept is damaged, or no longer signed by keys that the root trusts.
        """
        from tuf.api.exceptions import RepositoryError

        path = self.folder / SEEN
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            root = last_root((self.folder / ROOT).read_bytes(), self.folder / METADATA / "root_history")
            targets = verified(root, "targets", kept["targets"].encode())
            targets.signed.targets[CATALOGUE].verify_length_and_hashes(kept["releases"].encode())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RepositoryError) as error:
            raise InputError(
                f"{path}: is not what the registry signed ({error}); nothing of it is loaded: run uniair registry list"
            ) from error
        return read_catalogue(kept["releases"], str(path))

    def path(self, release: Release) -> Path:
        """The folder of a release here, whether it is there or not."""
        return self.folder / RELEASES / release.name / str(release.version)

    def has(self, release: Release) -> bool:
        """Whether it was pulled."""
        return self.path(release).is_dir()

    def pull(self, name: str, version: int | None = None, check: Check | None = None) -> tuple[Release, Path]:
        """Brings a release here, the newest of a name where no version is given; what was here before stays.

        Files are verified one by one, and the folder appears when all of them are; a pull that was killed goes on with
        the file that it was at.

        Args:
            check: looks at the files before they appear, and raises `InputError` where they are not what is said of
                them.

        Raises:
            InputError: as `refresh`, or no such release.
        """
        with alone_in(self.folder):
            updater, known = self._seen(name)
            release = newest(known, name, version)
            place = self.path(release)
            if place.is_dir() and not self.faults(release, place):
                return release, place
            part = place.with_name(PART.format(release.version))
            for file in release.files:
                self._bring(updater, release, file, part / file)
            for path in sorted(part.rglob("*"), reverse=True):  # of another try
                if path.is_file() and path.relative_to(part).as_posix() not in release.files:
                    path.unlink()
            if check is not None:
                check(release, part)
            if place.exists():  # damaged since it was pulled
                shutil.rmtree(place)
            part.replace(place)
        return release, place

    def verify(self, release: Release) -> Path:
        """The folder of a release that was pulled, with nothing in it but what was signed.

        Raises:
            InputError: it was not pulled, or is not what was signed.
        """
        place = self.path(release)
        if not place.is_dir():
            raise InputError(f"{PREFIX}{release}: not pulled yet; run uniair registry pull {release}")
        self.require(release, place)
        return place

    def require(self, release: Release, place: Path) -> None:
        """Raises `InputError` where a folder is not what was signed as a release."""
        if odd := self.faults(release, place):
            raise InputError(
                f"{place}: {odd[0]} is not what was signed as {release}; nothing was loaded: "
                f"uniair registry pull {release} brings it again"
            )

    @staticmethod
    def faults(release: Release, place: Path) -> list[str]:
        """Names of files in a folder that are missing, changed or not of the release."""
        there = {path.relative_to(place).as_posix() for path in place.rglob("*") if not path.is_dir()}
        changed = [name for name, file in release.files.items() if name in there and not _is(place / name, file.sha256)]
        return sorted(there ^ release.files.keys()) + changed

    def covering(self, path: Path) -> tuple[Release, str] | None:
        """The release that a path here belongs to, and the file in it (empty: the folder); None: of none.

        One that is being pulled, and looked at before it appears, is of its release too.
        """
        try:
            name, version, *inside = path.relative_to((self.folder / RELEASES).resolve()).parts
        except ValueError:
            return None
        found = [one for one in self.releases()
                 if one.name == name and version in (str(one.version), PART.format(one.version))]  # fmt: skip
        return (found[0], "/".join(inside)) if found else None

    def _seen(self, about: str = "") -> tuple[Updater, tuple[Release, ...]]:
        """Asks the registry, and keeps what it signed."""
        from tuf.ngclient import Updater

        from uniair.releases.fetching import Fetcher

        fetcher = Fetcher(self.folder)
        part = self.folder / f".{CATALOGUE}.part"
        with _said(self.registry):
            updater = Updater(
                str(self.folder / METADATA), f"{self.registry}/{METADATA}/", None, f"{self.registry}/{TARGETS}/",
                fetcher, bootstrap=(self.folder / ROOT).read_bytes(),
            )  # fmt: skip
            updater.refresh()
            self._check_clock()
            info = updater.get_targetinfo(CATALOGUE)
            if info is None:
                raise InputError(f"{self.registry}: lists no releases; ask its keeper")
            text = Path(updater.download_target(info, str(part))).read_text(encoding="utf-8")
            part.unlink()
            known = read_catalogue(text, self.registry)
            targets = (self.folder / METADATA / "targets.json").read_text(encoding="utf-8")
        write_text(self.folder / SEEN, json.dumps({"targets": targets, "releases": text}) + "\n")
        fetcher.about = about  # what is long comes from here on
        return updater, known

    def _note(self) -> None:
        document = {"format": FORMAT, "registry": self.registry, "signed_only": self.signed_only}
        write_text(self.folder / TRUST, json.dumps(document, indent=1) + "\n")

    def _check_clock(self) -> None:
        """Raises `InputError` where this node's clock is before the moment at which the timestamp was signed."""
        from tuf.api.metadata import Metadata

        stamp: Metadata[Any] = Metadata.from_file(str(self.folder / METADATA / "timestamp.json"))
        made = stamp.signed.unrecognized_fields.get(SIGNED)
        if made is not None and now() + BEHIND < datetime.fromisoformat(made):
            raise InputError(
                f"{self.registry}: was signed at {made[:16].replace('T', ' ')} UTC, but this node's clock says "
                f"{now():%Y-%m-%d %H:%M} UTC; set the clock, or what has expired would pass. Nothing was applied"
            )

    def _bring(self, updater: Updater, release: Release, name: str, path: Path) -> None:
        """A verified file of a release; from another release where that has the same one here."""
        file = release.files[name]
        if _is(path, file.sha256):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in (self.folder / RELEASES / release.name).glob("[0-9]*"):
            if _is(other / name, file.sha256):
                shutil.copyfile(other / name, path)
                if _is(path, file.sha256):
                    return
        with _said(self.registry):
            info = updater.get_targetinfo(file.target)
            if info is None or (info.length, info.hashes.get("sha256")) != (file.bytes, file.sha256):
                raise InputError(
                    f"{self.registry}: {release} says another digest of {name} than is signed for {file.target}; "
                    "nothing was applied: ask its keeper"
                )
            part = path.with_name(f".{path.name}.part")
            updater.download_target(info, str(part))
            part.replace(path)


def located(given: str | Path) -> tuple[Path, Release | None]:
    """Where weights lie that are named by `registry:NAME@VERSION`, verified, or by a path; and the release they are of.

    The one place that turns such names into paths. On a node that loads signed weights alone, a path is refused unless
    it is of a release, and verified too.

    Raises:
        InputError: not pulled, not what was signed, without a version, or unsigned where it must not be.
    """
    text = str(given)
    if text.startswith(PREFIX):
        name, version = parse(text)
        if version is None:
            raise InputError(f"{text}: give a version, such as {text}@1; uniair registry list shows them")
        node = Node.required()
        release = newest(node.releases(), name, version)
        return _of(release, node.verify(release)), release
    if not (home() / TRUST).exists():
        return Path(given), None
    node, path = Node.required(), Path(given)
    if not node.signed_only or path.resolve().is_relative_to(PACKAGE.resolve()):
        return path, None
    covered = node.covering(path.resolve())
    if covered is None:
        raise InputError(
            f"{given}: is signed by nobody, and this node loads signed weights alone; "
            f"name a release ({PREFIX}NAME@VERSION)"
        )
    release, inside = covered
    if not inside:
        node.require(release, path)
        return _of(release, path), release
    if inside not in release.files or not _is(path, release.files[inside].sha256):
        raise InputError(
            f"{given}: is not what was signed as {release}; uniair registry pull {release} brings it again"
        )
    return path, release


def own_key() -> bytes | None:
    """The key that tells weights which this node learned itself from others; None where it loads any.

    Raises:
        InputError: as `Node.here`, or the key can't be read or made.
    """
    node = Node.here()
    if node is None or not node.signed_only:
        return None
    path = node.folder / KEY
    try:
        if not path.exists():
            with tempfile.NamedTemporaryFile(dir=node.folder, prefix=f".{KEY}.") as new:  # its owner alone can read it
                new.write(secrets.token_bytes(KEY_BYTES))
                new.flush()
                with suppress(FileExistsError):  # another process was first
                    os.link(new.name, path)
        key = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: not to be read or made ({error.strerror}); it is this node's own key") from error
    if len(key) != KEY_BYTES:
        raise InputError(f"{path}: no key of {KEY_BYTES} bytes; remove it, and what was learned with it, to begin "
                         "anew")  # fmt: skip
    return key


def _of(release: Release, place: Path) -> Path:
    """What is loaded of a release: a head is its file, everything else its folder."""
    return (
        place / next(name for name in release.files if name.endswith(".safetensors"))
        if release.kind == "head"
        else place
    )


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and not path.is_symlink() and sha256(path) == digest


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A new folder that appears when the block ends well, and is removed when it does not."""
    new = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        new.replace(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


@contextmanager
def _said(registry: str) -> Iterator[None]:
    """What python-tuf raises, as one line that says what is wrong and what to do."""
    from tuf.api import exceptions as tuf

    clock = CLOCK.format(now=now())
    try:
        yield
    except tuf.ExpiredMetadataError as error:
        raise InputError(f"{registry}: a signature has expired ({error}); nothing was applied. {clock}; if not, its "
                         "keeper runs uniair registry refresh") from error  # fmt: skip
    except tuf.UnsignedMetadataError as error:
        raise InputError(f"{registry}: not signed by the keys that this node trusts ({error}); nothing was applied. It "
                         "is not the registry of the root file, or somebody changed it") from error  # fmt: skip
    except tuf.BadVersionNumberError as error:
        raise InputError(f"{registry}: older than what this node has seen of it ({error}); nothing was applied. A "
                         "stale copy, or somebody brings back what was withdrawn") from error  # fmt: skip
    except (tuf.LengthOrHashMismatchError, tuf.DownloadLengthMismatchError) as error:
        raise InputError(f"{registry}: a file is not what was signed ({error}); nothing was applied. The server, or "
                         "something on the way, changed it") from error  # fmt: skip
    except tuf.RepositoryError as error:
        raise InputError(f"{registry}: no signed registry ({error}); nothing was applied") from error
    except tuf.DownloadError as error:
        cause = error if isinstance(error, tuf.DownloadHTTPError) or error.__cause__ is None else error.__cause__
        why = getattr(cause, "reason", cause)  # urllib3 hides it behind the retries
        raise InputError(f"{registry}: not to be reached ({why}); check the address and the network") from error
