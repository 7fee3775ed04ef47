"""Links on disk: bit-exact, the same bytes for the same links, and InputError for everything damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.data.synthetic import assert_same, synthetic_links
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.propagation.ray_tracing import EDGES

property_test = settings(max_examples=30, deadline=None, derandomize=True)
ANGLES = ("aod_azimuth", "aod_zenith", "aoa_azimuth", "aoa_zenith")
PATHS = tuple(f"paths.{name}" for name in ("counts", "gain", "delay", *ANGLES, "interactions"))
NAMES = ("sizes", "area", "bs", "ue", "bearing", "los", "maps", *PATHS)


def written(folder: Path, links: Links | None = None, name: str = "links-00000.safetensors") -> Path:
    path = folder / name
    shards.write_shard(path, synthetic_links() if links is None else links)
    return path


def data_set(folder: Path, count: int = 2) -> dict[str, Any]:
    for i in range(count):
        written(folder, synthetic_links(i, place=f"place{i}"), f"links-{i:05d}.safetensors")
    return shards.write_manifest(folder, {"seed": 1}, "licence")


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Changes tensors and header of a shard, and writes it with the format's own library."""
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["uniair"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    change(tensors, header)
    save_file(tensors, path, metadata={"uniair": json.dumps(header)})


def assert_links_or_input_error(path: Path) -> None:
    try:
        links = shards.read_shard(path)
    except InputError as error:
        assert path.name in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        links.validate("again")
        assert links.paths.csi().shape == (len(links), 32, 64)


@pytest.mark.parametrize(("links", "areas", "pixels"), [(8, 3, 20), (1, 1, 8), (5, 7, 33)])
def test_round_trip_is_bit_exact(tmp_path: Path, links: int, areas: int, pixels: int) -> None:
    made = synthetic_links(1, areas, links, pixels)
    assert_same(shards.read_shard(written(tmp_path, made)), made)


def test_a_shard_without_links_round_trips(tmp_path: Path) -> None:
    made = synthetic_links()
    none = replace(
        made.select(np.zeros(8, dtype=bool)), areas=made.areas, maps=made.maps, mapped=made.mapped, sizes=made.sizes
    )
    assert_same(shards.read_shard(written(tmp_path, none)), none)


def test_the_same_links_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = written(tmp_path, name="a"), written(tmp_path, name="b")
    assert one.read_bytes() == two.read_bytes()
    other = written(tmp_path, synthetic_links(2), name="c")
    assert one.read_bytes() != other.read_bytes()


def test_the_header_is_read_without_tensors(tmp_path: Path) -> None:
    header = shards.shard_header(written(tmp_path))
    assert header == {"format": shards.FORMAT, "areas": ["town/00000", "town/00001", "town/00002"], "pixels": 20}


def test_maps_take_a_bit_a_pixel(tmp_path: Path) -> None:
    small = written(tmp_path, synthetic_links(0, 3, 8, 64), "a").stat().st_size
    large = written(tmp_path, synthetic_links(0, 3, 8, 512), "b").stat().st_size
    assert abs(large - small - 3 * (512**2 - 64**2) // 8) < 100


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_shard(tmp_path: Path, share: float) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"links-00000\.safetensors: truncated or not a safetensors file"):
        shards.read_shard(path)


def test_a_foreign_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"w": np.zeros(3)}, path)
    with pytest.raises(InputError, match=r"weights\.safetensors: not a shard of format 'uniair-links/2'"):
        shards.read_shard(path)
    path.write_bytes(b"PK\x03\x04 a zip file, say")
    with pytest.raises(InputError, match=r"weights\.safetensors: truncated or not"):
        shards.read_shard(path)
    with pytest.raises(InputError, match="truncated or not a safetensors file"):
        shards.read_shard(tmp_path)
    with pytest.raises(InputError, match=r"none\.safetensors: no such file"):
        shards.read_shard(tmp_path / "none.safetensors")


def test_nan_in_a_shard(tmp_path: Path) -> None:
    links = synthetic_links()
    links.ue[3, 1] = np.nan
    with pytest.raises(InputError, match=r"links-00000\.safetensors: ue holds NaN"):
        shards.read_shard(written(tmp_path, links))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", ["missing", "dtype", "deeper", "shorter", "scalar"])
def test_a_tensor_that_is_not_as_it_should_be(tmp_path: Path, name: str, change: str) -> None:
    path = written(tmp_path)

    def spoil(tensors: dict[str, Any], header: dict[str, Any]) -> None:
        value = tensors.pop(name)
        other = np.int64 if value.dtype.kind == "f" else np.float64
        changed = {
            "dtype": lambda: value.astype(other),
            "deeper": lambda: value[..., None].copy(),
            "shorter": lambda: value[:-1].copy(),
            "scalar": lambda: np.array(value.reshape(-1)[0]),
        }
        if change != "missing":
            tensors[name] = changed[change]()

    rewrite(path, spoil)
    with pytest.raises(InputError, match=r"links-00000\.safetensors: "):
        shards.read_shard(path)


@pytest.mark.parametrize(
    "wrong",
    [{"pixels": None}, {"pixels": "many"}, {"pixels": 1e400}, {"pixels": -4}, {"pixels": 21}, {"pixels": 10**15},
     {"areas": None}, {"areas": 3}, {"areas": "abc"}, {"areas": [1, 2, 3]}, {"areas": ["town/00000"]}],
    ids=str,
)  # fmt: skip
def test_a_header_that_is_not_as_it_should_be(tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = written(tmp_path)
    rewrite(path, lambda tensors, header: header.update(wrong))
    with pytest.raises(InputError, match=r"links-00000\.safetensors: "):
        shards.read_shard(path)


def test_counts_that_do_not_add_up(tmp_path: Path) -> None:
    path = written(tmp_path)

    def spoil(tensors: dict[str, Any], header: dict[str, Any]) -> None:
        tensors["paths.counts"][:2] += np.array([-100, 100], dtype=np.int32)

    rewrite(path, spoil)
    with pytest.raises(InputError, match="path counts and path arrays disagree"):
        shards.read_shard(path)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(shards, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = written(tmp_path).read_bytes()

    def fail(tensors: Any, path: Path, metadata: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(shards, "save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path, synthetic_links(9))
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [before]


def test_the_manifest_counts_and_reads_back(tmp_path: Path) -> None:
    manifest = data_set(tmp_path)
    assert (manifest["areas"], manifest["links"], manifest["places"]) == (6, 16, ["place0", "place1"])
    assert manifest["recipe"] == {"seed": 1}
    assert shards.read_manifest(tmp_path) == manifest
    parts = list(shards.stream(tmp_path))
    assert_same(parts[1], synthetic_links(1, place="place1"))
    assert_same(shards.read(tmp_path), Links.concatenate(parts))


def test_writing_the_manifest_again_gives_the_same_bytes(tmp_path: Path) -> None:
    data_set(tmp_path)
    before = (tmp_path / "manifest.json").read_bytes()
    shards.write_manifest(tmp_path, {"seed": 1}, "licence")
    assert (tmp_path / "manifest.json").read_bytes() == before


def test_a_missing_manifest_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json: no such file; make it with uniair trace"):
        shards.read(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        shards.read(tmp_path / "nowhere")
    written(tmp_path)
    with pytest.raises(InputError, match="has not finished: run the same uniair trace again"):
        shards.read(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "{}",
        '{"format": "uniair-links/1"}',
        '{"format": "uniair-links/2", "shards": []}',
        '{"format": "uniair-links/1", "shards": 3}',
        '{"format": "uniair-links/1", "shards": [3]}',
        '{"format": "uniair-links/1", "shards": [{"file": 3}]}',
        '{"format": "uniair-links/1", "shards": [{"file": "links-00000.safetensors"}]}',
        '{"format": "uniair-links/1", "shards": []}',
    ],
)
def test_a_broken_manifest(tmp_path: Path, text: str) -> None:
    data_set(tmp_path)
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError):
        shards.read(tmp_path)


@pytest.mark.parametrize("tracer", ["sionna-rt 2.2.0", f"sionna-rt 2.2.0{EDGES}"])
@pytest.mark.parametrize("every_edge", [True, False])
def test_links_over_diagonals_of_walls_are_refused(tmp_path: Path, tracer: str, every_edge: bool) -> None:
    data_set(tmp_path, 1)
    campaign = {"ray_tracing": {"every_edge": every_edge}}
    shards.write_manifest(tmp_path, {"campaign": campaign, "tracer": tracer}, "licence")
    if every_edge and not tracer.endswith(EDGES):
        with pytest.raises(InputError, match=r"over diagonals of walls too.* trace them again"):
            shards.read(tmp_path)
    else:
        assert len(shards.read(tmp_path))


def test_a_manifest_cannot_point_out_of_its_folder(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    manifest = data_set(inside, 1)
    written(tmp_path, name="secret")
    manifest["shards"][0]["file"] = "../secret"
    (inside / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(InputError, match="secret: no such file"):
        shards.read(inside)


def test_a_checksum_that_does_not_match(tmp_path: Path) -> None:
    data_set(tmp_path)
    path = tmp_path / "links-00001.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(InputError, match=r"links-00001\.safetensors: checksum does not match the manifest"):
        shards.read(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_missing_shard(tmp_path: Path) -> None:
    data_set(tmp_path)
    (tmp_path / "links-00001.safetensors").unlink()
    with pytest.raises(InputError, match=r"links-00001\.safetensors: no such file"):
        shards.read(tmp_path)


@property_test
@given(data=st.binary(max_size=300))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "links.safetensors"
    path.write_bytes(data)
    assert_links_or_input_error(path)


@property_test
@given(share=st.floats(0, 1), tail=st.binary(max_size=20))
def test_any_truncation(tmp_path_factory: pytest.TempPathFactory, share: float, tail: bytes) -> None:
    path = written(tmp_path_factory.mktemp("cut"))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))] + tail)
    assert_links_or_input_error(path)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=4),
    head=st.booleans(),
)
def test_any_bit_flips(tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[float, int]], head: bool) -> None:
    path = written(tmp_path_factory.mktemp("flips"))
    data = bytearray(path.read_bytes())
    reach = 8 + int.from_bytes(data[:8], "little") if head else len(data)  # the header holds names, types and shapes
    for where, bit in flips:
        data[int(where * reach)] ^= 1 << bit
    path.write_bytes(data)
    assert_links_or_input_error(path)


@property_test
@given(
    name=st.sampled_from(NAMES),
    dtype=st.sampled_from(["float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool"]),
    shape=st.lists(st.integers(0, 9), max_size=3),
    fill=st.sampled_from([0, 1, -1, 7]),
)
def test_any_tensor(
    tmp_path_factory: pytest.TempPathFactory, name: str, dtype: str, shape: list[int], fill: int
) -> None:
    path = written(tmp_path_factory.mktemp("tensor"))
    rewrite(path, lambda tensors, header: tensors.update({name: np.full(shape, fill).astype(dtype)}))
    assert_links_or_input_error(path)


def test_an_area_without_a_known_map_stays_so(tmp_path: Path) -> None:
    made = synthetic_links()
    made = replace(made, mapped=np.array([True, False, True]))
    assert_same(shards.read_shard(written(tmp_path, made)), made)
