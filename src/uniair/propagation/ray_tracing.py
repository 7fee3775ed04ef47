"""Area → Sionna RT scene → `Paths`."""

from __future__ import annotations

import ctypes.util
import glob
import os
from dataclasses import dataclass
from importlib import metadata
from typing import Any, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from uniair.area.area import Area
from uniair.errors import InputError
from uniair.propagation.paths import DIFFRACTION, REFLECTION, SCATTERING, TRANSMISSION, Paths
from uniair.radio import Radio

UE_CHUNK = 2_000  # UEs traced at once: what bounds the memory of a dense drop
MOST_TESTS = 60_000_000  # rays × bounces × UEs that the engine's own search keeps in memory at once
EDGES = ", edges that bend"  # of `RayTracing.every_edge`, which took diagonals of walls for edges before
REST, RESTS = 0.1, 0.95  # a body rests on another: gap between them, m, and share of its plan that has one below
# sionna.rt.Scene; not imported under TYPE_CHECKING, because the command line resolves such imports and would load the
# tracer before it could say that LLVM is missing
Scene: TypeAlias = Any


@dataclass(frozen=True)
class RayTracing:
    """How links are traced; the defaults are paper 1's Table I.

    Attributes:
        frequency: carrier, Hz.
        depth: most interactions a path.
        reflection: follow specular reflections.
        diffraction: follow first-order diffraction at edges.
        transmission: follow paths through walls.
        samples: rays launched from each BS.
        probe_users: UEs that the rays look for; the chains of walls and edges found are tried for every UE (see
            `SharedChains`). 0: Sionna RT's own search, every ray against every UE.
        every_edge: try every building's every edge for every UE, beside what rays find (with `probe_users` alone): few
            rays meet the one roof edge over which a mast is heard.
        paths: most paths kept per link, the strongest.
        building_material: ITU-R P.2040 name.
        ground_material: ITU-R P.2040 name valid at `frequency` (its ground types end at 10 GHz).
        seed: of the ray launcher.
    """

    frequency: float = Radio().carrier
    depth: int = 3
    reflection: bool = True
    diffraction: bool = True
    transmission: bool = False
    samples: int = 100_000
    probe_users: int = 6
    every_edge: bool = False
    paths: int = 25
    building_material: str = "concrete"
    ground_material: str = "concrete"
    seed: int = 1


def tracer(config: RayTracing) -> str:
    """What traces, as recipes note it: with another one a folder does not go on, since it may find other paths."""
    return f"sionna-rt {metadata.version('sionna-rt')}{EDGES if config.every_edge else ''}"


def find_llvm() -> str | None:
    """Path or name of an LLVM library of version 19 or later, `DRJIT_LIBLLVM_PATH` first; None without one."""
    named = os.environ.get("DRJIT_LIBLLVM_PATH")
    if named:
        return named if os.path.exists(named) or ctypes.util.find_library(named) else None
    for version in range(30, 18, -1):
        for pattern in (
            f"/usr/lib/*/libLLVM-{version}.so*",
            f"/usr/lib/llvm-{version}/lib/libLLVM*.so*",
            f"/usr/lib/*/libLLVM.so.{version}*",
            f"/opt/homebrew/opt/llvm@{version}/lib/libLLVM*.dylib",
        ):
            if found := sorted(glob.glob(pattern)):
                return found[0]
    return None


def require_sionna() -> Any:
    """The `sionna.rt` module with LLVM in place.

    Raises:
        InputError: sionna-rt or LLVM ≥ 19 is missing; the message says how to install it.
    """
    llvm = find_llvm()
    if llvm is None:
        raise InputError(
            "ray tracing on the CPU needs LLVM 19 or later: apt-get install libllvm19, or set DRJIT_LIBLLVM_PATH to "
            "the library"
        )
    os.environ.setdefault("DRJIT_LIBLLVM_PATH", llvm)
    try:
        import mitsuba

        if mitsuba.variant() is None:
            mitsuba.set_variant("llvm_ad_mono_polarized")
        import sionna.rt
    except ImportError as error:
        raise InputError(f"ray tracing needs sionna-rt ({error}): pip install 'uniair[rt]'") from error
    return sionna.rt


def check_materials(config: RayTracing) -> None:
    """Finds out whether the materials are defined at the carrier, before anything is traced.

    Raises:
        InputError: one is not, or there is none of that name; sionna-rt or LLVM is missing.
    """
    require_sionna()
    from sionna.rt.radio_materials.itu import ITU_MATERIALS_PROPERTIES

    for name in dict.fromkeys((config.building_material, config.ground_material)):
        if name not in ITU_MATERIALS_PROPERTIES:
            raise InputError(f"material {name!r} is none of ITU-R P.2040's: {', '.join(ITU_MATERIALS_PROPERTIES)}")
        if not defined(name, config.frequency):
            bands = sorted(ITU_MATERIALS_PROPERTIES[name])
            known = ", ".join(f"{low:g} to {high:g} GHz" for low, high in bands)
            raise InputError(
                f"{name} is not defined at {config.frequency / 1e9:g} GHz (ITU-R P.2040: {known}); give a carrier there"
            )


def defined(material: str, frequency: float) -> bool:
    """Whether ITU-R P.2040 describes a material at a carrier, Hz, as the tracer asks for it: in single precision."""
    require_sionna()
    from sionna.rt.radio_materials.itu import ITU_MATERIALS_PROPERTIES

    gigahertz = float(np.float32(frequency)) / 1e9
    return any(low <= gigahertz <= high for low, high in ITU_MATERIALS_PROPERTIES.get(material, ()))


def extrude(
    footprints: tuple[Polygon, ...], heights: NDArray[np.float64], bases: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Closed prisms: vertices float32 [V, 3] m and triangles uint32 [F, 3], normals outward.

    Walls and roof share their vertices, so that the tracer finds the edges between them for diffraction. The floor is
    left out where it lies on the ground.

    Args:
        footprints: outlines, m.
        heights: of the tops above ground, m.
        bases: of the floors above ground, m; without them all are 0.
    """
    if bases is None:
        bases = np.zeros(len(heights))
    vertices: list[NDArray[np.float64]] = []
    faces: list[NDArray[np.int64]] = []
    start = 0
    for footprint, height, base in zip(footprints, heights, bases, strict=True):
        footprint = shapely.orient_polygons(footprint, exterior_cw=False)
        corner: dict[tuple[float, float], int] = {}
        for ring in (footprint.exterior, *footprint.interiors):
            xy = np.asarray(ring.coords)[:-1, :2]
            n = len(xy)
            vertices.append(np.column_stack([np.repeat(xy, 2, axis=0), np.tile([base, height], n)]))
            low = start + 2 * np.arange(n)
            high = low + 1
            next_low, next_high = np.roll(low, -1), np.roll(high, -1)
            faces.append(np.column_stack([low, next_low, next_high]))
            faces.append(np.column_stack([low, next_high, high]))
            for i, (x, y) in enumerate(xy):
                corner[(float(x), float(y))] = int(high[i])
            start += 2 * n
        roof = []
        for triangle in shapely.get_parts(shapely.constrained_delaunay_triangles(footprint)):
            ring = shapely.orient_polygons(triangle, exterior_cw=False).exterior
            roof.append([corner[(float(x), float(y))] for x, y in np.asarray(ring.coords)[:3, :2]])
        faces.append(np.asarray(roof, dtype=np.int64).reshape(-1, 3))
        if base > 0:  # the corner below each of the roof's, seen from below
            faces.append(faces[-1][:, ::-1] - 1)
    return np.concatenate(vertices).astype(np.float32), np.concatenate(faces).astype(np.uint32)


def standing(area: Area) -> NDArray[np.float64]:
    """Floors of the bodies as the tracer needs them, m: those that rest on others go down to the ground through them.

    A tower on its podium would otherwise have a floor on the podium's roof, two surfaces in one plane.
    """
    bases = area.bases.copy()
    plans = np.asarray(area.footprints, dtype=object)
    for i in np.argsort(bases, kind="stable"):
        below = (bases == 0) & (area.heights >= area.bases[i] - REST)
        if bases[i] > 0 and below.any():
            near = plans[below & shapely.intersects(plans, plans[i])]
            if plans[i].intersection(shapely.union_all(near)).area >= RESTS * plans[i].area:
                bases[i] = 0.0
    return bases


def build_scene(area: Area, config: RayTracing = RayTracing()) -> Scene:
    """The area as a Sionna RT scene: extruded buildings, a flat ground, ITU materials, isotropic antennas.

    Raises:
        InputError: the area has no buildings, or sionna-rt or LLVM is missing.
    """
    area.require_buildings()
    rt = require_sionna()
    import mitsuba as mi

    def mesh(name: str, vertices: NDArray[np.float32], faces: NDArray[np.uint32], material: str) -> Any:
        shape = mi.Mesh(name, len(vertices), len(faces))
        params = mi.traverse(shape)
        params["vertex_positions"] = vertices.ravel()
        params["faces"] = faces.ravel()
        params.update()
        itu = rt.ITURadioMaterial(f"{name}-{material}", material, thickness=0.3)
        return rt.SceneObject(mi_mesh=shape, name=name, radio_material=itu)

    x0, y0, x1, y1 = area.bounds
    ground = np.array([[x0, y0, 0], [x1, y0, 0], [x1, y1, 0], [x0, y1, 0]], dtype=np.float32)
    scene = rt.load_scene()
    scene.edit(
        add=[
            mesh("buildings", *extrude(area.footprints, area.heights, standing(area)), config.building_material),
            mesh("ground", ground, np.array([[0, 1, 2], [0, 2, 3]], dtype=np.uint32), config.ground_material),
        ]
    )
    scene.frequency = config.frequency
    scene.tx_array = scene.rx_array = rt.PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="V")
    return scene


def trace(area: Area, bs: NDArray[np.floating], ue: NDArray[np.floating], config: RayTracing = RayTracing()) -> Paths:
    """Traces every BS to every UE. Link b·len(ue) + u goes from BS b to UE u.

    Args:
        bs: [B, 3] m.
        ue: [U, 3] m.

    Raises:
        InputError: no buildings, a position inside a building or outside the area, sionna-rt or LLVM missing.
    """
    area.require_buildings()
    area.require_outdoors(bs, "BS")
    area.require_outdoors(ue, "UE")
    return trace_scene(build_scene(area, config), bs, ue, config)


def trace_scene(
    scene: Scene, bs: NDArray[np.floating], ue: NDArray[np.floating], config: RayTracing = RayTracing()
) -> Paths:
    """As `trace`, in a Sionna RT scene of the caller's own (its frequency and materials stay as they are).

    Single isotropic antennas of both polarisations are traced; the scene's own arrays come back afterwards.
    """
    kept = {side: getattr(scene, side) for side in ("tx_array", "rx_array")}
    scene.tx_array = scene.rx_array = require_sionna().PlanarArray(
        num_rows=1, num_cols=1, pattern="iso", polarization="VH"
    )
    try:
        return _trace_chunks(scene, bs, ue, config)
    finally:
        for side, array in kept.items():
            if array is not None:  # a scene can't be given none
                setattr(scene, side, array)


def _trace_chunks(scene: Scene, bs: NDArray[np.floating], ue: NDArray[np.floating], config: RayTracing) -> Paths:
    """As `trace_scene`, with the scene's arrays, so many UEs at once as memory has room for."""
    rt = require_sionna()
    # the solver's default drops paths in an order that depends on thread timing
    solver = rt.PathSolver(deterministic=True)
    if config.probe_users:
        from uniair.propagation.shared_chains import SharedChains

        solver._candidate_generator = SharedChains(config.probe_users, config.every_edge and config.diffraction)
    step = UE_CHUNK
    if not config.probe_users:
        step = min(step, max(1, MOST_TESTS // (len(bs) * config.samples * max(config.depth, 1))))
    parts = []
    for start in range(0, len(ue), step):
        chunk = ue[start : start + step]
        for device in (*scene.transmitters, *scene.receivers):
            scene.remove(device)
        for i, position in enumerate(bs):
            scene.add(rt.Transmitter(f"bs{i}", position=[float(v) for v in position]))
        for i, position in enumerate(chunk):
            scene.add(rt.Receiver(f"ue{i}", position=[float(v) for v in position]))
        found = solver(
            scene,
            max_depth=config.depth,
            samples_per_src=config.samples,
            # room for the chains that probe_users see; memory is taken for all of it
            max_num_paths_per_src=max(config.samples, 50_000) if config.probe_users else 1_000_000,
            synthetic_array=True,
            specular_reflection=config.reflection,
            refraction=config.transmission,
            diffraction=config.diffraction,
            seed=config.seed,
        )
        parts.append(from_sionna(found, len(bs), len(chunk), float(scene.frequency[0])).strongest(config.paths))
    if len(parts) == 1:
        return parts[0]
    paths = Paths.concatenate(parts)  # chunk-major; links are BS-major
    link = np.concatenate(
        [(np.arange(len(bs))[:, None] * len(ue) + start + np.arange(len(part) // len(bs))).ravel()
         for start, part in zip(range(0, len(ue), step), parts, strict=True)]
    )  # fmt: skip
    return paths.select(np.argsort(link))


def give_memory_back() -> None:
    """Frees what the tracer keeps for scenes of the same size: gigabytes, where each area has another one."""
    import drjit

    drjit.flush_malloc_cache()


def from_sionna(found: Any, bs: int, ue: int, frequency: float, antenna: int = 0) -> Paths:
    """Sionna RT's `Paths` (synthetic array) as ours: links BS-major.

    Args:
        found: `sionna.rt.Paths` of `bs` transmitters and `ue` receivers. Of receivers with two ports, vertical and
            horizontal, and transmitters with the same, the paths know polarisation.
        antenna: of the transmitters, which the gains are of.
        frequency: carrier, Hz; Sionna RT's gains are without its phase e^{−j2π f_c τ}, ours have it.
    """
    valid = found.valid.numpy()
    if valid.size == 0:
        valid = np.zeros((ue, bs, 0), dtype=bool)
    valid = valid.reshape(ue, bs, -1)
    u, b, p = np.nonzero(valid)
    received, sent = found.a[0].shape[1], found.a[0].shape[3]
    gain = np.asarray(found.a[0].numpy() + 1j * found.a[1].numpy())
    gain = gain.reshape(ue, received, bs, sent, -1)[u, :, b, :, p]  # [P, ports of the UE, ports of the BS]

    def pick(values: Any) -> NDArray[Any]:
        return np.asarray(values.numpy()).reshape(ue, bs, -1)[u, b, p]

    delay = pick(found.tau)
    carrier = np.exp(-2j * np.pi * frequency * delay.astype(np.float64))
    digits = np.zeros(9, dtype=np.int64)
    kinds = rt_kinds()
    for kind, digit in kinds.items():
        digits[kind] = digit
    sequence = np.zeros(len(u), dtype=np.int64)
    interactions = np.asarray(found.interactions.numpy())
    for step in interactions.reshape(interactions.shape[0], ue, bs, valid.shape[-1])[:, u, b, p]:
        sequence = np.where(step > 0, sequence * 10 + digits[step], sequence)
    return Paths.from_rows(
        bs * ue,
        b * ue + u,
        gain=gain[:, 0, antenna] * carrier,
        cross=gain.reshape(-1, 4)[:, 1:] * carrier[:, None] if (received, sent) == (2, 2) else None,
        delay=delay,
        aod_azimuth=pick(found.phi_t),
        aod_zenith=pick(found.theta_t),
        aoa_azimuth=pick(found.phi_r),
        aoa_zenith=pick(found.theta_r),
        interactions=sequence,
    )


def rt_kinds() -> dict[int, int]:
    """Sionna RT's interaction flags to our digits."""
    from sionna.rt.constants import InteractionType

    return {
        InteractionType.SPECULAR: REFLECTION,
        InteractionType.DIFFUSE: SCATTERING,
        InteractionType.REFRACTION: TRANSMISSION,
        InteractionType.DIFFRACTION: DIFFRACTION,
    }
