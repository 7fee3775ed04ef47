"""Links out of thin air: valid by the contract, no tracer needed."""

from __future__ import annotations

import numpy as np

from uniair.data.links.links import Links
from uniair.propagation.paths import Paths


def synthetic_links(seed: int = 0, areas: int = 3, links: int = 8, pixels: int = 20, place: str = "town") -> Links:
    """`links` links spread over `areas` areas, one to five paths each."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 6, links)
    total = int(counts.sum())
    sizes = rng.uniform(100, 250, areas).astype(np.float32)
    area = np.sort(rng.integers(0, areas, links)).astype(np.int32)
    plan = rng.uniform(0, 1, (2, links, 2)) * sizes[area][:, None]
    paths = Paths.from_rows(
        links,
        np.repeat(np.arange(links), counts),
        gain=(rng.normal(size=total) + 1j * rng.normal(size=total)) * 1e-5,
        delay=rng.uniform(1e-8, 1e-6, total),
        aod_azimuth=rng.uniform(-np.pi, np.pi, total),
        aod_zenith=rng.uniform(0, np.pi, total),
        aoa_azimuth=rng.uniform(-np.pi, np.pi, total),
        aoa_zenith=rng.uniform(0, np.pi, total),
        interactions=rng.integers(0, 3, total),
    )
    return Links(
        areas=tuple(f"{place}/{i:05d}" for i in range(areas)),
        maps=rng.integers(0, 2, (areas, pixels, pixels)).astype(np.uint8),
        mapped=np.ones(areas, dtype=bool),
        sizes=sizes,
        area=area,
        bs=np.column_stack([plan[0], np.full(links, 6.0)]).astype(np.float32),
        ue=np.column_stack([plan[1], np.full(links, 1.5)]).astype(np.float32),
        bearing=np.zeros(links, dtype=np.float32),
        los=paths.los(),
        paths=paths,
    )


def assert_same(one: Links, two: Links) -> None:
    """Bit for bit."""
    assert one.areas == two.areas
    for name in ("maps", "mapped", "sizes", "area", "bs", "ue", "bearing", "los"):
        assert getattr(one, name).dtype == getattr(two, name).dtype, name
        assert getattr(one, name).shape == getattr(two, name).shape, name
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes(), name
    for name in ("offsets", *Paths.PER_PATH):
        assert getattr(one.paths, name).dtype == getattr(two.paths, name).dtype, name
        assert getattr(one.paths, name).tobytes() == getattr(two.paths, name).tobytes(), name
