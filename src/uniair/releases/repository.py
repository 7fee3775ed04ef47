"""The keeper's side of a registry: a folder of targets and TUF metadata that any static file server can serve.

The new state appears with `timestamp.json`, which is replaced last and in one step: a publication that was killed
before leaves the registry as it was, and the same command goes on. Files of metadata and targets bear version or digest
in their names (consistent snapshots), so that a node that reads meanwhile sees one state.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from uniair.errors import InputError
from uniair.files import atomic_path, sha256
from uniair.folder_lock import alone_in
from uniair.progress import track
from uniair.releases.keys import ROLES, Keys, require_tuf
from uniair.releases.release import (
    CATALOGUE,
    Artefact,
    File,
    Release,
    catalogue,
    check_file,
    check_name,
    newest,
    now,
    read_catalogue,
)
from uniair.releases.signatures import last_root, verified

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

METADATA, TARGETS = "metadata", "targets"
FIRST_ROOT = f"{METADATA}/1.root.json"
SIGNED = "x-uniair-signed"  # when the timestamp was signed: TUF alone says only when it ends
# how long signatures hold
DAYS: Mapping[str, float] = {"root": 730, "targets": 365, "snapshot": 365, "timestamp": 30}


@dataclass
class State:
    """The metadata of one moment, all signatures verified."""

    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]

    def expiries(self) -> dict[str, datetime]:
        """Until when the signatures of each role hold, UTC."""
        return {role: getattr(self, role).signed.expires for role in DAYS}


class Registry:
    """A folder that releases are published into.

    Raises:
        InputError: python-tuf is missing.
    """

    def __init__(self, folder: str | Path) -> None:
        require_tuf()
        self.folder = Path(folder)

    def create(self, keys: Keys, days: Mapping[str, float] = DAYS) -> Path:
        """Makes keys and an empty registry; returns the root file that nodes are to be given.

        Raises:
            InputError: a registry or something else is there, or keys that the passphrase doesn't open.
        """
        from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

        check_apart(self.folder, keys.folder)
        with alone_in(self.folder):
            if (self.folder / METADATA / "timestamp.json").exists():
                raise InputError(f"{self.folder}: a registry is there already; give another folder, or publish into it")
            if self.folder.exists() and {path.name for path in self.folder.iterdir()} - {METADATA, TARGETS}:
                raise InputError(f"{self.folder}: holds something else; give a new folder")
            signers, root = keys.make(), Metadata(Root(consistent_snapshot=True))
            for name, roles in ROLES.items():
                for role in roles:
                    root.signed.add_key(signers[name].public_key, role)
            root.signed.expires = now() + timedelta(days=days["root"])
            root.sign(signers["root"])
            (self.folder / TARGETS).mkdir(parents=True, exist_ok=True)
            self._write(f"{METADATA}/1.root.json", root.to_bytes())
            state = State(root, Metadata(Timestamp()), Metadata(Snapshot()), Metadata(Targets()))
            for metadata in (state.timestamp, state.snapshot, state.targets):
                metadata.signed.version = 0  # of what is signed first it is 1
            self._commit(state, (), keys, days)
        return self.folder / FIRST_ROOT

    def state(self) -> State:
        """What is signed now.

        Raises:
            InputError: no registry there, or a signature or digest that doesn't hold.
        """
        from tuf.api.exceptions import RepositoryError

        here = self.folder / METADATA
        path = here / "timestamp.json"
        if not (self.folder / FIRST_ROOT).is_file() or not path.is_file():
            raise InputError(f"{self.folder}: no registry there; make one with uniair registry init")
        try:
            root = last_root((self.folder / FIRST_ROOT).read_bytes(), here)
            timestamp = verified(root, "timestamp", path.read_bytes())
            path = here / f"{timestamp.signed.snapshot_meta.version}.snapshot.json"
            timestamp.signed.snapshot_meta.verify_length_and_hashes(path.read_bytes())
            snapshot = verified(root, "snapshot", path.read_bytes())
            listed = snapshot.signed.meta["targets.json"]
            path = here / f"{listed.version}.targets.json"
            listed.verify_length_and_hashes(path.read_bytes())
            targets = verified(root, "targets", path.read_bytes())
        except (RepositoryError, OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: is not what was signed ({error}); put it back from a copy") from error
        return State(root, timestamp, snapshot, targets)

    def releases(self, state: State | None = None) -> tuple[Release, ...]:
        """All that were published, oldest first.

        Raises:
            InputError: as `state`.
        """
        from tuf.api.exceptions import RepositoryError

        info = (state or self.state()).targets.signed.targets[CATALOGUE]
        path = self._path(info)
        try:
            text = path.read_bytes()
            info.verify_length_and_hashes(text)
        except (OSError, RepositoryError) as error:
            raise InputError(f"{path}: is not what was signed ({error}); put it back from a copy") from error
        return read_catalogue(text, str(path))

    def publish(
        self, name: str, artefact: Artefact, keys: Keys, uniair: str, note: str = "", days: Mapping[str, float] = DAYS
    ) -> Release:
        """Signs a new version; where the newest holds the same files it is left, and returned.

        Args:
            uniair: version of the library that made it.

        Raises:
            InputError: as `state` and `Keys.signer`, a name that can't be one, or a file that changes meanwhile.
        """
        from tuf.api.metadata import TargetFile

        check_name(name)
        with self._writing(keys):
            state = self.state()
            self._signers(state, keys)  # a wrong passphrase must be known before gigabytes are copied
            known = self.releases(state)
            before = [release for release in known if release.name == name]
            version = 1 + max((release.version for release in before), default=0)
            same = {(file.sha256, path): file for release in before for path, file in release.files.items()}
            files: dict[str, File] = {}
            for path, source in track(artefact.files.items(), "file", f"reading {name}"):
                digest = sha256(source)
                # letters that an address can't hold are written by their numbers
                target = f"{name}/{version}/{quote(check_file(path)).replace('%', '=')}"
                files[path] = same.get((digest, path), File(target, source.stat().st_size, digest))
            what = (artefact.kind, artefact.weights, artefact.radio, files)
            if before and (before[-1].kind, before[-1].weights, before[-1].radio, before[-1].files) == what:
                return before[-1]
            for path, file in track(files.items(), "file", f"copying {name}@{version}"):
                if (file.sha256, path) not in same:
                    info = TargetFile(file.bytes, {"sha256": file.sha256}, file.target)
                    self._copy(artefact.files[path], info)
                    state.targets.signed.targets[file.target] = info
            release = Release(
                name, version, artefact.kind, artefact.weights, artefact.radio, artefact.says, files,
                now().isoformat(), uniair, note=note,
            )  # fmt: skip
            self._commit(state, (*known, release), keys, days)
        return release

    def rollback(
        self, name: str, version: int, keys: Keys, note: str = "", days: Mapping[str, float] = DAYS
    ) -> Release:
        """Brings an earlier version back as a new one: its files again, under a higher number and a new signature.

        Nodes refuse metadata that is older than what they know, which is what keeps an attacker from serving a model
        with a known fault again; so the way back is a way forward. Where the newest holds these files already it is
        returned.

        Raises:
            InputError: as `state` and `Keys.signer`, or no such version.
        """
        with self._writing(keys):
            state = self.state()
            known = self.releases(state)
            old, last = newest(known, check_name(name), version), newest(known, name)
            if last.files == old.files:
                return last
            release = replace(old, version=last.version + 1, restores=old.version, made=now().isoformat(), note=note)
            self._commit(state, (*known, release), keys, days)
        return release

    def refresh(self, keys: Keys, days: Mapping[str, float] = DAYS) -> tuple[str, ...]:
        """Signs again what would expire: the timestamp, and what has less than half its time left, as keys are there.

        Returns the roles that were signed.

        Raises:
            InputError: as `state` and `Keys.signer`.
        """
        from tuf.api.metadata import MetaFile

        with self._writing(keys):
            state = self.state()
            due = {role for role, end in state.expiries().items() if end < now() + timedelta(days=days[role] / 2)}
            signed = []
            if "root" in due and keys.has("root"):
                root = state.root.signed
                root.version, root.expires = root.version + 1, now() + timedelta(days=days["root"])
                state.root.sign(keys.signer("root", root.roles["root"].keyids))
                self._write(f"{METADATA}/{root.version}.root.json", state.root.to_bytes())
                signed.append("root")
            if due & {"targets", "snapshot"} and keys.has("targets"):
                self._commit(state, self.releases(state), keys, days)
                return (*signed, "targets", "snapshot", "timestamp")
            self._timestamp(state, keys, days, MetaFile.from_dict(state.timestamp.signed.snapshot_meta.to_dict()))
        return (*signed, "timestamp")

    @contextmanager
    def _writing(self, keys: Keys) -> Iterator[None]:
        """Holds the registry, without what a run that was killed has left half-written."""
        check_apart(self.folder, keys.folder)
        if not (self.folder / FIRST_ROOT).is_file():  # or a lock would be held where nothing is
            raise InputError(f"{self.folder}: no registry there; make one with uniair registry init")
        with alone_in(self.folder):
            for part in self.folder.rglob(".*.part"):
                part.unlink()
            yield

    def _signers(self, state: State, keys: Keys) -> dict[str, Any]:
        roles = state.root.signed.roles
        return {name: keys.signer(name, roles[name].keyids) for name in ("targets", "timestamp")}

    def _commit(self, state: State, releases: Sequence[Release], keys: Keys, days: Mapping[str, float]) -> None:
        """Signs a state with these releases; it is there once the timestamp is."""
        from tuf.api.metadata import MetaFile, TargetFile

        signer = self._signers(state, keys)["targets"]
        text = catalogue(releases)
        info = TargetFile.from_data(CATALOGUE, text, ["sha256"])
        self._write(str(self._path(info).relative_to(self.folder)), text)
        targets, snapshot = state.targets.signed, state.snapshot.signed
        targets.targets[CATALOGUE] = info
        for metadata, role in ((state.targets, "targets"), (state.snapshot, "snapshot")):
            metadata.signed.version += 1
            metadata.signed.expires = now() + timedelta(days=days[role])
        state.targets.sign(signer)
        listed = state.targets.to_bytes()
        self._write(f"{METADATA}/{targets.version}.targets.json", listed)
        snapshot.meta["targets.json"] = MetaFile.from_data(targets.version, listed, ["sha256"])
        state.snapshot.sign(signer)
        seen = state.snapshot.to_bytes()
        self._write(f"{METADATA}/{snapshot.version}.snapshot.json", seen)
        self._timestamp(state, keys, days, MetaFile.from_data(snapshot.version, seen, ["sha256"]))

    def _timestamp(self, state: State, keys: Keys, days: Mapping[str, float], snapshot: Any) -> None:
        timestamp = state.timestamp.signed
        timestamp.version += 1
        timestamp.expires = now() + timedelta(days=days["timestamp"])
        timestamp.snapshot_meta = snapshot
        timestamp.unrecognized_fields[SIGNED] = now().isoformat()
        state.timestamp.sign(keys.signer("timestamp", state.root.signed.roles["timestamp"].keyids))
        self._write(f"{METADATA}/timestamp.json", state.timestamp.to_bytes())

    def _copy(self, source: Path, info: TargetFile) -> None:
        """A file among the targets; one that is there already, of a publication that was killed, is left."""
        path = self._path(info)
        if path.is_file() and sha256(path) == info.hashes["sha256"]:
            return
        with atomic_path(path) as temporary:
            shutil.copyfile(source, temporary)
            if sha256(temporary) != info.hashes["sha256"]:
                raise InputError(f"{source}: changes while it is published; wait until what writes it has ended")

    def _path(self, info: TargetFile) -> Path:
        folder, _, name = info.path.rpartition("/")
        return self.folder / TARGETS / folder / f"{info.hashes['sha256']}.{name}"

    def _write(self, name: str, content: bytes) -> None:
        with atomic_path(self.folder / name) as temporary:
            temporary.write_bytes(content)


def check_apart(registry: Path, keys: Path) -> None:
    """Raises `InputError` where keys would be served with the registry."""
    if keys.resolve().is_relative_to(registry.resolve()):
        raise InputError(f"--keys {keys}: lies in the registry, which everybody may read; give a folder outside it")
