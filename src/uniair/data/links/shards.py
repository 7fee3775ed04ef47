"""Links on disk: safetensors shards of paths (not CSI), a manifest with checksums, and the recipe that made them.

DIR/manifest.json               format, recipe, places, one entry a shard (file, sha256, areas, links)
DIR/links-00000.safetensors     see `write_shard`
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.files import atomic_path, sha256, write_text
from uniair.propagation.paths import Paths
from uniair.propagation.ray_tracing import EDGES
from uniair.radio import Radio

FORMAT = "uniair-links/2"
LONGEST_NAME = 256  # bytes that file systems refuse
READ = ("uniair-links/1", FORMAT)  # the first has occupancy and one gain a path
DECIMETRE = 0.1  # m: the step of stored building heights
TYPES = dict.fromkeys(("sizes", "bs", "ue", "bearing", *(f"paths.{name}" for name in Paths.PER_PATH)), "float32")
TYPES |= {"maps": "uint8", "heights": "uint16", "paths.cross": "float32"}
TYPES |= {"los": "uint8", "area": "int32", "paths.counts": "int32", "paths.interactions": "int32"}


def write_shard(path: Path, links: Links) -> None:
    """Writes links as one safetensors file; the same links give the same bytes.

    Occupancy is packed to bits, building heights are stored in decimetres, complex gains as pairs of float32.
    """
    tensors = {name: np.ascontiguousarray(getattr(links, name)) for name in ("sizes", "area", "bs", "ue", "bearing")}
    tensors["los"] = links.los.astype(np.uint8)
    if links.maps.dtype == np.uint8:
        tensors["maps"] = np.packbits(links.built, axis=-1)
    else:
        tensors["heights"] = np.rint(links.maps / DECIMETRE).astype(np.uint16)
    tensors["paths.counts"] = links.paths.counts.astype(np.int32)
    for name in Paths.PER_PATH:
        tensors[f"paths.{name}"] = np.ascontiguousarray(getattr(links.paths, name))
    tensors["paths.gain"] = tensors["paths.gain"].astype(np.complex64).view(np.float32).reshape(-1, 2)
    if links.paths.cross is not None:
        tensors["paths.cross"] = np.ascontiguousarray(links.paths.cross).view(np.float32).reshape(-1, 3, 2)
    tensors = {name: values.astype(TYPES[name], copy=False) for name, values in tensors.items()}
    # one key: safetensors writes several in an order that changes from run to run
    header: dict[str, Any] = {"format": FORMAT, "areas": links.areas, "pixels": links.maps.shape[-1]}
    if not links.mapped.all():
        header["unmapped"] = np.flatnonzero(~links.mapped).tolist()
    if links.radios != (Radio(),) * len(links.areas):  # paper 1's is what a shard without any has
        radios = list(dict.fromkeys(links.radios))
        header["radios"] = [radio.to_json() for radio in radios]
        header["radio"] = [radios.index(radio) for radio in links.radios]
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"uniair": json.dumps(header)})


def shard_header(path: Path) -> dict[str, Any]:
    """Format, area names and raster of a shard, without its tensors.

    Raises:
        InputError: missing, truncated or not one of our shards.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get("uniair", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: truncated or not a safetensors file ({error}); make or download it again") from error
    if not isinstance(header, dict) or header.get("format") not in READ:
        raise InputError(f"{path}: not a shard of format {FORMAT!r}; it was not written by this version of uniair")
    return header


def read_shard(path: Path) -> Links:
    """Reads and validates one shard.

    Raises:
        InputError: missing, truncated, of another format, or against the sample contract.
    """
    header = shard_header(path)
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
        _check_layout(tensors, header)
        counts = tensors["paths.counts"].astype(np.int64)
        if (counts < 0).any() or len(tensors["paths.delay"]) != counts.sum():
            raise ValueError("path counts and path arrays disagree")
        mapped = np.ones(len(header["areas"]), dtype=bool)
        mapped[header.get("unmapped", [])] = False
        links = Links(
            areas=tuple(header["areas"]),
            mapped=mapped,
            maps=maps_of(tensors, header),
            los=tensors["los"].astype(bool),
            paths=paths_of(tensors),
            radios=radios_of(header, path),
            **{name: tensors[name] for name in ("sizes", "area", "bs", "ue", "bearing")},
        )
    except (SafetensorError, KeyError, ValueError, IndexError, TypeError) as error:
        raise InputError(
            f"{path}: broken shard ({type(error).__name__}: {error}); make or download it again"
        ) from error
    return links.validate(str(path))


def maps_of(tensors: Mapping[str, NDArray[Any]], header: dict[str, Any]) -> NDArray[Any]:
    """Occupancy uint8 or building heights float32, m, of a shard's areas [A, R, R]."""
    if "heights" in tensors:
        return tensors["heights"].astype(np.float32) * np.float32(DECIMETRE)
    return np.unpackbits(tensors["maps"], axis=-1, count=header["pixels"])


def paths_of(tensors: Mapping[str, NDArray[Any]]) -> Paths:
    """The paths of some links, from their tensors as a shard holds them."""
    offsets = np.concatenate([[0], np.cumsum(tensors["paths.counts"], dtype=np.int64)])
    per_path = {name: tensors[f"paths.{name}"] for name in Paths.PER_PATH}
    per_path["gain"] = np.ascontiguousarray(per_path["gain"]).view(np.complex64)[:, 0]
    cross = tensors.get("paths.cross")
    if cross is not None:
        cross = np.ascontiguousarray(cross).view(np.complex64)[:, :, 0]
    return Paths(offsets, **per_path, cross=cross)


def radios_of(header: dict[str, Any], path: Path) -> tuple[Radio, ...]:
    """The radio of each area of a shard; paper 1's where its header names none, as in folders of the first version.

    Raises:
        InputError: a radio of a newer format, or none at all.
    """
    if "radios" not in header:
        return (Radio(),) * len(header["areas"])
    try:
        radios = [Radio.from_json(entries, str(path)) for entries in header["radios"]]
        found = tuple(radios[number] for number in header["radio"])
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path}: broken shard (radios: {error}); make or download it again") from error
    if len(found) != len(header["areas"]):
        raise InputError(f"{path}: broken shard ({len(found)} radios of {len(header['areas'])} areas); make it again")
    return found


def _check_layout(tensors: dict[str, NDArray[Any]], header: dict[str, Any]) -> None:
    """Raises `ValueError` or `KeyError` where a shard's tensors have other types or shapes than its header asks for."""
    names, pixels = header["areas"], header["pixels"]
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError("the header's areas are not a list of names")
    if not (isinstance(pixels, int) and pixels > 0):
        raise ValueError(f"the header's pixels are {pixels!r}")
    areas, links, paths = len(names), tensors["area"].size, tensors["paths.delay"].size
    shapes: dict[str, tuple[int, ...]] = {"sizes": (areas,), "bs": (links, 3), "ue": (links, 3)}
    if "heights" in tensors:
        shapes["heights"] = (areas, pixels, pixels)
    else:
        shapes["maps"] = (areas, pixels, -(-pixels // 8))
    shapes |= dict.fromkeys(("area", "bearing", "los", "paths.counts"), (links,))
    shapes |= {f"paths.{name}": (paths,) for name in Paths.PER_PATH} | {"paths.gain": (paths, 2)}
    if "paths.cross" in tensors:
        shapes["paths.cross"] = (paths, 3, 2)
    for name, shape in shapes.items():
        have = tensors[name]
        if have.shape != shape or have.dtype != TYPES[name]:
            raise ValueError(f"{name} is {have.dtype} {have.shape}, expected {TYPES[name]} {shape}")


def write_manifest(
    folder: Path, recipe: dict[str, Any], attribution: str, report: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Checks every shard in the folder and writes `manifest.json`; returns it.

    Args:
        recipe: what made the links.
        attribution: licence lines of the sources.
        report: what a reader found and left out.
    """
    shards: list[dict[str, Any]] = []
    names: set[str] = set()
    radios: dict[Radio, None] = {}
    for path in sorted(folder.glob("links-*.safetensors")):
        header = shard_header(path)
        areas = header["areas"]
        names |= set(areas)
        radios |= dict.fromkeys(radios_of(header, path))
        with safe_open(path, framework="numpy") as file:
            links = int(file.get_slice("area").get_shape()[0])
        shards.append({"file": path.name, "sha256": sha256(path), "areas": len(areas), "links": links})
    manifest = {
        "format": FORMAT,
        "areas": len(names),
        "links": sum(s["links"] for s in shards),
        "places": sorted({name.split("/")[0] for name in names}),
        "radios": [radio.to_json() for radio in radios],
        "attribution": attribution,
        "recipe": recipe,
        "shards": shards,
    }
    if report is not None:
        manifest["account"] = report
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a links folder.

    Raises:
        InputError: missing, not JSON, of another format, or traced over diagonals of walls.
    """
    path = folder / "manifest.json"
    if not path.exists():
        unfinished = any(folder.glob("links-*.safetensors"))
        hint = (
            "the campaign has not finished: run the same uniair trace again"
            if unfinished
            else "make it with uniair trace"
        )
        raise InputError(f"{path}: no such file; {hint}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        valid = manifest["format"] in READ and all(
            isinstance(s[k], str) and len(s[k].encode()) < LONGEST_NAME
            for s in manifest["shards"]
            for k in ("file", "sha256")
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a links manifest ({type(error).__name__}: {error})") from error
    if not valid:
        raise InputError(f"{path}: format {manifest['format']!r} is not {FORMAT!r}; it was not written by this version")
    if _over_diagonals(manifest.get("recipe")):
        raise InputError(
            f"{path}: an older version traced these links over diagonals of walls too, through whatever stood in the "
            "way; trace them again"
        )
    return dict(manifest)


def _over_diagonals(recipe: Any) -> bool:
    """Whether links were traced over every edge before those that do not bend were left out."""
    match recipe:
        case {"campaign": {"ray_tracing": {"every_edge": True}}, "tracer": str(tracer)}:
            return not tracer.endswith(EDGES)
    return False


def manifest_radios(manifest: dict[str, Any]) -> tuple[Radio, ...]:
    """The radios of a folder's links, each once; paper 1's where its manifest names none.

    Raises:
        InputError: a radio of a newer format.
    """
    if "radios" not in manifest:
        return (Radio(),)
    return tuple(Radio.from_json(entries, "manifest.json") for entries in manifest["radios"])


def stream(folder: str | Path, check: bool = True) -> Iterator[Links]:
    """The shards of a folder one by one, checksums compared first.

    Raises:
        InputError: a shard is missing, truncated, or its checksum does not match the manifest.
    """
    folder = Path(folder)
    for shard in read_manifest(folder)["shards"]:
        path = folder / Path(shard["file"]).name
        if check and path.exists() and sha256(path) != shard["sha256"]:
            raise InputError(
                f"{path}: checksum does not match the manifest; the file is damaged, copy or make it again"
            )
        yield read_shard(path)


def read(folder: str | Path, check: bool = True) -> Links:
    """All links of a folder in memory."""
    parts = list(stream(folder, check))
    if not parts:
        raise InputError(f"{folder}: the data set has no shards")
    if len({part.maps.shape[-1] for part in parts}) > 1:
        raise InputError(f"{folder}: its shards have maps of different rasters; trace them again with one --pixels")
    return Links.concatenate(parts)
