"""A keeper, its registry and a node: what is signed arrives, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tuf", reason="tuf is missing: pip install 'uniair[registry]'")

from uniair.commands.registry_serve import Handler
from uniair.errors import InputError
from uniair.files import atomic_path
from uniair.folder_lock import alone_in
from uniair.releases import fetching, node, release, repository
from uniair.releases.fetching import Fetcher, address
from uniair.releases.keys import Keys
from uniair.releases.node import Node, located, own_key
from uniair.releases.release import Artefact, Release
from uniair.releases.repository import DAYS, FIRST_ROOT, Registry

WEIGHTS = "0123456789abcdef"


def artefact(folder: Path, content: str, kind: str = "model") -> Artefact:
    """A model of two files that differ by `content`, and one that does not."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"config.json": "{}", "model.safetensors": content * 1000, "heads/Mast 1 é.safetensors": content}
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return Artefact(kind, WEIGHTS, None, "for tests", {name: folder / name for name in files})


class Keeper:
    """A registry with its keys, and a shorthand to publish into it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.work = folder / "registry", folder / "work"
        self.registry, self.keys = Registry(self.folder), Keys(folder / "keys", "a passphrase")
        self.root = self.registry.create(self.keys)

    def publish(self, content: str, name: str = "base", **more: Any) -> Release:
        return self.registry.publish(name, artefact(self.work / content, content), self.keys, "0", **more)


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path / "keeper")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(node.HOME, str(tmp_path / "node"))
    return tmp_path / "node"


@pytest.fixture
def here(keeper: Keeper, home: Path) -> Node:
    """A node that trusts the keeper and has its first version."""
    keeper.publish("one")
    found = Node.trust(address(str(keeper.folder)), keeper.root)
    found.pull("base")
    return found


def content(place: Path) -> str:
    return (place / "model.safetensors").read_text(encoding="utf-8")[:3]


@pytest.fixture
def served(keeper: Keeper) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(keeper.folder)))
    thread = threading.Thread(target=partial(server.serve_forever, 0.01))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("over", ["folder", "http"])
def test_what_is_published_arrives_and_earlier_versions_stay(
    over: str, keeper: Keeper, home: Path, served: str
) -> None:
    where = served if over == "http" else address(str(keeper.folder))
    keeper.publish("one", note="the first")
    there = Node.trust(where, keeper.root)
    first, old = there.pull("base")
    assert keeper.publish("two").version == 2
    assert not there.has(keeper.registry.releases()[1])
    second, new = there.pull("base")
    assert (str(first), str(second), first.note) == ("base@1", "base@2", "the first")
    assert (content(old), content(new)) == ("one", "two")
    assert {path.relative_to(new).as_posix() for path in new.rglob("*.*")} == second.files.keys()
    assert located("registry:base@1") == (old, first)
    assert located("registry:base@2") == (new, second)
    assert [str(one) for one in there.refresh()] == ["base@1", "base@2"]


def test_the_server_shows_nothing_else(keeper: Keeper, served: str, home: Path) -> None:
    (keeper.folder / "notes.txt").write_text("mine")
    (keeper.folder / "metadata" / ".hidden").write_text("mine")
    fetch = partial(Fetcher(keeper.folder).download_bytes, max_length=100_000)
    assert json.loads(fetch(f"{served}/metadata/timestamp.json"))["signed"]["version"] == 1
    for path in ("", "metadata", "metadata/", "targets/", "notes.txt", "metadata/.hidden", "metadata/../notes.txt",
                 "../keys/root.pem", "metadata/%2e%2e/notes.txt", "//etc/passwd"):  # fmt: skip
        with pytest.raises(Exception, match="answers 404"):
            fetch(f"{served}/{path}")


def test_the_same_again_is_no_new_version(keeper: Keeper) -> None:
    one = keeper.publish("one")
    assert keeper.publish("one") == one
    other = artefact(keeper.work / "one", "one", kind="site")
    assert keeper.registry.publish("base", other, keeper.keys, "0").version == 2


def test_rollback_is_a_new_release_of_old_files(keeper: Keeper, here: Node) -> None:
    keeper.publish("two")
    here.pull("base")
    kept = set(keeper.folder.rglob("*.safetensors"))
    back = keeper.registry.rollback("base", 1, keeper.keys, note="two was worse")
    assert (back.version, back.restores, back.note) == (3, 1, "two was worse")
    assert set(keeper.folder.rglob("*.safetensors")) == kept
    assert keeper.registry.rollback("base", 1, keeper.keys) == back  # a run that was repeated
    asked: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetching, "_pieces", watched(asked))
        found, place = here.pull("base")
    assert (str(found), content(place)) == ("base@3", "one")
    assert not [name for name in asked if name.endswith(".safetensors")], "the old files were here"


def watched(asked: list[str], dies: Callable[[str], bool] = lambda name: False) -> Callable[[Path], Iterator[bytes]]:
    """Reads files, noting which, until one is reached at which the process dies."""
    real = fetching._pieces

    def pieces(path: Path) -> Iterator[bytes]:
        if dies(path.name):
            raise KeyboardInterrupt
        asked.append(path.name)
        return real(path)

    return pieces


def test_an_older_state_is_refused(keeper: Keeper, here: Node, tmp_path: Path) -> None:
    shutil.copytree(keeper.folder, tmp_path / "stale")
    keeper.publish("two")
    here.refresh()
    with pytest.raises(InputError, match="older than what this node has seen of it"):
        Node.trust(address(str(tmp_path / "stale")), keeper.root).pull("base")


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    text = path.read_bytes()
    assert old in text
    path.write_bytes(text.replace(old, new))


@pytest.mark.parametrize(
    ("what", "old", "new", "line"),
    [
        ("targets/base/2/*.model.safetensors", b"two", b"owt", "a file is not what was signed"),
        ("targets/base/2/*.model.safetensors", b"two", b"twoo", "a file is not what was signed"),
        ("targets/*.releases.json", b'"for tests"', b'"For tests"', "a file is not what was signed"),
        ("metadata/3.targets.json", b"base/2/model", b"base/9/model", "a file is not what was signed"),
        ("metadata/3.snapshot.json", b'"version":3', b'"version":2', "a file is not what was signed"),
        ("metadata/timestamp.json", b'"version":3', b'"version":9', "not signed by the keys that this node trusts"),
        ("metadata/timestamp.json", b'"signed"', b'"sinned"', "no signed registry"),
    ],
)
def test_a_registry_that_lies_changes_nothing(
    what: str, old: bytes, new: bytes, line: str, keeper: Keeper, here: Node
) -> None:
    keeper.publish("two")
    for path in [path for path in keeper.folder.glob(what) if old in path.read_bytes()] or [keeper.folder / what]:
        rewrite(path, old, new)
    with pytest.raises(InputError, match=line) as error:
        here.pull("base")
    assert "nothing was applied" in str(error.value)
    assert "\n" not in str(error.value)
    assert content(located("registry:base@1")[0]) == "one"
    with pytest.raises(InputError, match=r"no such version|not pulled yet"):
        located("registry:base@2")


def test_a_release_that_says_another_digest_than_is_signed(keeper: Keeper, here: Node) -> None:
    """By a keeper's own key: the catalogue contradicts the targets."""
    state = keeper.registry.state()
    entry = keeper.registry.releases()[0].to_json() | {"version": 2}
    entry["files"]["config.json"]["sha256"] = 64 * "0"
    lie = Release.from_json(entry)
    keeper.registry._commit(state, (*keeper.registry.releases(), lie), keeper.keys, DAYS)
    with pytest.raises(InputError, match=r"base@2 says another digest of config\.json than is signed"):
        here.pull("base")
    assert not here.has(lie)


@pytest.mark.parametrize("name", ["../escape", "/etc/x", "a/../b", ".hidden", "a//b", "a\\b", "C:x", "", "a\nb", "a/"])
def test_files_that_would_lie_elsewhere(name: str, keeper: Keeper, tmp_path: Path) -> None:
    entry = keeper.publish("one").to_json()
    entry["files"][name] = entry["files"].pop("config.json")
    with pytest.raises(InputError, match="no name of a file of a release"):
        Release.from_json(entry)
    with pytest.raises(InputError, match="no name of a file of a release"):
        keeper.registry.publish("x", Artefact("model", "", None, "", {name: keeper.root}), keeper.keys, "0")


@pytest.mark.parametrize("name", ["..", "a/../b", "Base", "a b", "", "-a", "a..b", "é", "a" * 65, "a\n"])
def test_names_that_are_none(name: str, keeper: Keeper, here: Node) -> None:
    for act in (
        lambda: keeper.publish("two", name),
        lambda: keeper.registry.rollback(name, 1, keeper.keys),
        lambda: located(f"registry:{name}@1"),
        lambda: release.parse(f"{name}@1"),
    ):
        with pytest.raises(InputError, match="takes small letters and digits"):
            act()
    assert len(keeper.registry.releases()) == 1


@pytest.mark.parametrize("version", ["0", "-1", "x", "", "1.5", "²", "9" * 20])
def test_versions_that_are_none(version: str) -> None:
    with pytest.raises(InputError, match="is no number from 1"):
        release.parse(f"base@{version}")


def test_what_is_named_but_not_there(keeper: Keeper, here: Node) -> None:
    for given, line in (
        ("registry:base", "give a version, such as registry:base@1"),
        ("registry:base@7", "no such version; the registry has base@1 to base@1"),
        ("registry:other@1", "no such name in the registry; it has base"),
    ):
        with pytest.raises(InputError, match=line):
            located(given)
    keeper.publish("two")
    here.refresh()
    with pytest.raises(InputError, match="not pulled yet; run uniair registry pull base@2"):
        located("registry:base@2")


def test_an_expired_signature_names_the_clock_and_is_mended(keeper: Keeper, here: Node) -> None:
    for role in ("timestamp", "targets", "snapshot"):
        keeper.publish(role, days={**DAYS, role: -1})
        with pytest.raises(InputError, match=rf"expired.*{role}.*is wrong, set it; if not, its keeper") as error:
            here.pull("base")
        assert "nothing was applied" in str(error.value)
        assert content(located("registry:base@1")[0]) == "one", "what was pulled goes on"
        signed = keeper.registry.refresh(keeper.keys)
        assert signed == (("timestamp",) if role == "timestamp" else ("targets", "snapshot", "timestamp"))
        assert content(here.pull("base")[1]) == role[:3]


def test_a_clock_that_is_late_is_told(keeper: Keeper, here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    real = release.now
    monkeypatch.setattr(repository, "now", lambda: real() + timedelta(hours=2))
    keeper.publish("two")
    with pytest.raises(InputError, match=r"was signed at .* but this node's clock says .* set the clock"):
        here.pull("base")
    assert content(located("registry:base@1")[0]) == "one"
    monkeypatch.setattr(node, "now", lambda: real() + timedelta(hours=2))  # the clock is set
    assert content(here.pull("base")[1]) == "two"


def test_a_publication_that_is_killed_anywhere_leaves_what_was_there(
    keeper: Keeper, here: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of its writes: nodes see version 1, and the same command makes version 2."""
    died: list[str] = []

    def dying(path: Path) -> Any:
        kind = re.sub("^[0-9a-f]+[.]", "", path.name)
        if kind not in died:
            died.append(kind)
            raise KeyboardInterrupt
        return atomic_path(path)

    left = keeper.folder / "targets" / "base" / "1" / ".weights.another.1.part"
    left.write_text("half of")
    monkeypatch.setattr(repository, "atomic_path", dying)
    while True:
        try:
            found = keeper.publish("two")
            break
        except KeyboardInterrupt:
            assert [str(one) for one in here.refresh()] == ["base@1"]
            assert [str(one) for one in keeper.registry.releases()] == ["base@1"]
    assert died[2:] == ["releases.json", "targets.json", "snapshot.json", "timestamp.json"]
    assert all(name.endswith(".safetensors") for name in died[:2])
    assert str(found) == "base@2"
    assert content(here.pull("base")[1]) == "two"
    assert not list(keeper.folder.rglob(".*"))
    assert not list(here.folder.rglob(".*"))


def test_a_pull_that_is_killed_goes_on_and_replaces_nothing(
    keeper: Keeper, here: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper.publish("two")
    asked: list[str] = []
    monkeypatch.setattr(fetching, "_pieces", watched(asked, lambda name: "Mast" in name))
    with pytest.raises(KeyboardInterrupt):
        here.pull("base")
    assert content(located("registry:base@1")[0]) == "one"
    with pytest.raises(InputError, match="not pulled yet"):
        located("registry:base@2")
    monkeypatch.undo()
    monkeypatch.setenv(node.HOME, str(here.folder))
    asked.clear()
    monkeypatch.setattr(fetching, "_pieces", watched(asked))
    assert content(here.pull("base")[1]) == "two"
    assert [name for name in asked if name.endswith(".safetensors")] == [name for name in asked if "Mast" in name], (
        "what had arrived is not fetched again"
    )


def test_what_doesnt_pass_the_check_never_appears(keeper: Keeper, here: Node) -> None:
    two = keeper.publish("two")

    def refuse(release: Release, folder: Path) -> None:
        assert content(folder) == "two"
        raise InputError("of another model")

    with pytest.raises(InputError, match="of another model"):
        here.pull("base", check=refuse)
    assert not here.has(two)


@pytest.mark.parametrize("harm", ["changed", "missing", "added", "link"])
def test_what_was_changed_since_it_was_pulled_is_not_loaded(harm: str, here: Node, tmp_path: Path) -> None:
    place = located("registry:base@1")[0]
    path = place / ("extra.safetensors" if harm == "added" else "model.safetensors")
    if harm == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    elif harm == "missing":
        path.unlink()
    else:
        path.write_text("evil")
    with pytest.raises(InputError, match=rf"{path.name} is not what was signed as base@1; nothing was loaded"):
        located("registry:base@1")
    here.pull("base", 1)
    assert content(located("registry:base@1")[0]) == "one"


@pytest.mark.parametrize("name", ["signed.json", "metadata/root_history/1.root.json", "root.json"])
def test_evidence_that_was_changed_is_none(name: str, here: Node, tmp_path: Path) -> None:
    other = Keeper(tmp_path / "other")
    other.publish("two")
    if name == "signed.json":
        rewrite(here.folder / name, b"for tests", b"for Tests")
    else:
        (here.folder / name).write_bytes(other.root.read_bytes())
    if name == "metadata/root_history/1.root.json":  # the root that was given counts, not what lies there
        assert content(located("registry:base@1")[0]) == "one"
    else:
        with pytest.raises(InputError, match="is not what the registry signed"):
            located("registry:base@1")


def test_a_node_that_is_told_to_loads_signed_weights_alone(keeper: Keeper, here: Node, tmp_path: Path) -> None:
    loose = keeper.work / "one"
    assert located(loose) == (loose, None)
    Node.trust(here.registry, keeper.root, signed_only=True)
    for unsigned in (loose, loose / "model.safetensors", here.folder, here.folder / "releases" / "base"):
        with pytest.raises(InputError, match="is signed by nobody, and this node loads signed weights alone"):
            located(unsigned)
    packaged = node.PACKAGE / "weights" / "small"
    assert located(packaged) == (packaged, None)
    place, found = located("registry:base@1")
    assert located(place) == (place, found)
    head = place / "heads" / "Mast 1 é.safetensors"
    assert located(head) == (head, found)
    head.write_text("evil")
    (place / "heads" / "more.safetensors").write_text("evil")
    for path in (head, place / "heads" / "more.safetensors", place):
        with pytest.raises(InputError, match="is not what was signed"):
            located(path)
    shutil.rmtree(here.folder / "metadata")
    with pytest.raises(InputError, match="is not what"):
        located(place)
    Node.trust(here.registry, keeper.root)
    assert located(loose) == (loose, None)


def test_a_node_that_loads_signed_weights_alone_has_a_key_of_its_own(keeper: Keeper, here: Node) -> None:
    assert own_key() is None
    Node.trust(here.registry, keeper.root, signed_only=True)
    key = own_key()
    assert key is not None
    assert len(key) == 32
    assert own_key() == key
    path = here.folder / "own.key"
    assert path.stat().st_mode & 0o077 == 0
    path.write_bytes(key[:5])
    with pytest.raises(InputError, match="no key of 32 bytes; remove it"):
        own_key()


def test_trust_is_given_once_and_to_one(
    keeper: Keeper, here: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Keeper(tmp_path / "other")
    with pytest.raises(InputError, match="trusts another root already"):
        Node.trust(address(str(other.folder)), other.root)
    monkeypatch.setenv(node.HOME, str(tmp_path / "fresh"))
    for registry, root, line in (
        (keeper.folder, other.root, "not signed by the keys that this node trusts"),
        (keeper.folder, keeper.folder / "metadata" / "timestamp.json", "no signed registry"),
        (keeper.folder, tmp_path / "nowhere", "not to be read"),
        (tmp_path / "nowhere", keeper.root, "not to be reached .*no such file"),
    ):
        with pytest.raises(InputError, match=line):
            Node.trust(address(str(registry)), root)
        assert not (tmp_path / "fresh").exists()
    with pytest.raises(InputError, match="trusts no registry"):
        located("registry:base@1")
    assert located("anywhere") == (Path("anywhere"), None)


def test_a_server_that_is_away(keeper: Keeper, here: Node, served: str) -> None:
    Node.trust(served, keeper.root)
    gone = Node(here.folder, "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"not to be reached .* check the address and the network"):
        gone.pull("base")
    assert content(located("registry:base@1")[0]) == "one"


def test_a_connection_that_breaks_off_is_no_file(keeper: Keeper, here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    two = keeper.publish("two")

    class Breaking(Handler):
        def copyfile(self, source: Any, outputfile: Any) -> None:
            whole = source.read()
            outputfile.write(whole[:1500] if len(whole) == two.files["model.safetensors"].bytes else whole)
            self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Breaking, directory=str(keeper.folder))) as server:
        thread = threading.Thread(target=partial(server.serve_forever, 0.01))
        thread.start()
        with pytest.raises(InputError, match=r"not to be reached \(.*1500 bytes read"):
            Node(here.folder, f"http://127.0.0.1:{server.server_port}").pull("base")
        server.shutdown()
        thread.join()
    assert not here.has(two)
    assert content(here.pull("base")[1]) == "two"


def test_keys_that_dont_fit(keeper: Keeper, tmp_path: Path) -> None:
    keeper.publish("zero")
    keeper.publish("one")
    folder, other = keeper.keys.folder, Keeper(tmp_path / "other")
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    assert len(list(folder.iterdir())) == 3
    assert all(b"ENCRYPTED" in path.read_bytes() for path in folder.iterdir())
    for keys, line in (
        (Keys(folder, "another passphrase"), "the passphrase is wrong"),
        (Keys(folder), "is encrypted: give its passphrase"),
        (Keys(tmp_path / "none", "a passphrase"), "no such key"),
        (Keys(other.keys.folder, "a passphrase"), "the targets key of another registry"),
        (Keys(keeper.folder / "metadata"), "lies in the registry, which everybody may read"),
    ):
        keeper.keys = keys
        with pytest.raises(InputError, match=line):
            keeper.publish("two")
        with pytest.raises(InputError, match=line):
            keeper.registry.rollback("base", 1, keys)
    assert [str(one) for one in keeper.registry.releases()] == ["base@1", "base@2"]
    assert not list(keeper.folder.glob("targets/base/3"))
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "targets.pem").write_text("hello")
    with pytest.raises(InputError, match="not a private key in PEM"):
        Keys(tmp_path / "none").signer("targets")
    with pytest.raises(InputError, match="at least 8 characters"):
        Registry(tmp_path / "new").create(Keys(tmp_path / "k", "short"))


def test_registries_are_made_where_nothing_is(keeper: Keeper, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a registry is there already"):
        keeper.registry.create(keeper.keys)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        Registry(tmp_path / "full").create(keeper.keys)
    for act in (Registry(tmp_path / "none").state, partial(Registry(tmp_path / "none").refresh, keeper.keys)):
        with pytest.raises(InputError, match="no registry there"):
            act()
    assert not (tmp_path / "none").exists()


def test_a_registry_that_was_killed_while_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def dying(path: Path) -> Any:
        if path.name == "timestamp.json":
            raise KeyboardInterrupt
        return atomic_path(path)

    registry, keys = Registry(tmp_path / "registry"), Keys(tmp_path / "keys", "a passphrase")
    monkeypatch.setattr(repository, "atomic_path", dying)
    with pytest.raises(KeyboardInterrupt):
        registry.create(keys)
    monkeypatch.undo()
    made = keys.path("root").read_bytes()
    registry.create(keys)
    assert keys.path("root").read_bytes() == made
    assert registry.releases() == ()


def test_a_registry_that_was_changed_is_not_signed_again(keeper: Keeper) -> None:
    keeper.publish("one")
    rewrite(keeper.folder / "metadata" / "2.targets.json", b"base/1/config.json", b"base/9/config.json")
    for act in (lambda: keeper.publish("two"), lambda: keeper.registry.refresh(keeper.keys)):
        with pytest.raises(InputError, match=r"2\.targets\.json: is not what was signed .* put it back from a copy"):
            act()


def test_the_timestamp_needs_its_key_alone_and_a_new_root_is_followed(
    keeper: Keeper, here: Node, tmp_path: Path
) -> None:
    shutil.copytree(keeper.keys.folder, tmp_path / "cron")
    cron = Keys(tmp_path / "cron", "a passphrase")
    for name in ("root", "targets"):
        cron.path(name).unlink()
    assert keeper.registry.refresh(cron) == ("timestamp",)
    with pytest.raises(InputError, match=r"targets\.pem: no such key"):
        keeper.registry.publish("base", artefact(keeper.work, "two"), cron, "0")
    longer = {**DAYS, "root": 3 * DAYS["root"]}  # so that less than half is left
    assert keeper.registry.refresh(keeper.keys, longer) == ("root", "timestamp")
    assert (keeper.folder / "metadata" / "2.root.json").is_file()
    keeper.publish("two")
    assert content(here.pull("base")[1]) == "two"
    assert content(located("registry:base@2")[0]) == "two"
    assert datetime.now().year + 5 <= keeper.registry.state().expiries()["root"].year


def test_two_keepers_at_once(keeper: Keeper) -> None:
    with alone_in(keeper.folder), pytest.raises(InputError, match="another run is writing there"):
        keeper.publish("one")


def test_a_file_that_changes_while_it_is_published(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    growing = artefact(keeper.work, "one")
    real = shutil.copyfile

    def later(source: Path, target: Path) -> None:
        source.write_text("more", encoding="utf-8")
        real(source, target)

    monkeypatch.setattr(shutil, "copyfile", later)
    with pytest.raises(InputError, match="changes while it is published"):
        keeper.registry.publish("base", growing, keeper.keys, "0")
    assert keeper.registry.releases() == ()
    assert (keeper.folder / FIRST_ROOT).is_file()
