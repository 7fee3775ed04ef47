"""A street of triangle meshes that the radio and a camera see alike: static surroundings and what moves in them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniair.errors import InputError
from uniair.propagation.paths import Paths
from uniair.propagation.ray_tracing import RayTracing, defined, require_sionna, trace_scene

SKY, SUN = (0.65, 0.75, 0.9), (3.2, 3.0, 2.6)  # radiance and irradiance, RGB; white in full light is just not clipped
BOUNCES = 3  # of light: what lies in the shade is lit by the sky and by one wall
STAND_IN = "concrete"  # for what ITU-R P.2040 does not describe at the carrier (brick above 40 GHz)
# linear RGB; the buildings of one material differ by shade
COLOURS = {
    "concrete": (0.22, 0.22, 0.23),
    "marble": (0.55, 0.50, 0.40),
    "brick": (0.40, 0.17, 0.11),
    "wood": (0.34, 0.22, 0.12),
    "glass": (0.20, 0.28, 0.36),
    "metal": (0.30, 0.14, 0.10),  # the roofs of the wheel's cities
    "car": (0.30, 0.31, 0.33),
}


@dataclass(frozen=True)
class Mesh:
    """Triangles of one material.

    Attributes:
        name: unique in a street.
        vertices: float32 [V, 3] m.
        faces: uint32 [F, 3] vertices of each triangle.
        colours: float32 [F, 3] linear RGB reflectance of each triangle.
        material: ITU-R P.2040 name.
    """

    name: str
    vertices: NDArray[np.float32]
    faces: NDArray[np.uint32]
    colours: NDArray[np.float32]
    material: str


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        position: x, y, z, m.
        azimuth: of its axis, which is level, rad.
        view: horizontal angle of view, rad.
        size: width and height, pixels.
    """

    position: tuple[float, float, float]
    azimuth: float
    view: float = math.radians(110.0)
    size: tuple[int, int] = (224, 128)


def surroundings(scene: str, centre: tuple[float, float], radius: float, frequency: float) -> list[Mesh]:
    """The meshes of a scene of the sionna-rt wheel within a radius, one a material; whole triangles are kept.

    Args:
        scene: its name, `munich` for instance.
        centre: x, y, m.
        radius: of the ground kept, m.
        frequency: carrier, Hz, at which every material must be known; concrete stands in where it is not.

    Raises:
        InputError: no such scene, nothing of it there, sionna-rt or LLVM missing.
    """
    rt = require_sionna()
    import mitsuba as mi

    scenes = Path(rt.__file__).parent / "scenes"
    path = scenes / scene / f"{scene}.xml"
    if not path.is_file():
        have = ", ".join(sorted(file.stem for file in scenes.glob("*/*.xml")))
        raise InputError(f"{scene!r}: no such scene in the sionna-rt wheel; choose one of {have}")
    parts = defaultdict(list)
    for number, (name, shape) in enumerate(rt.load_scene(str(path), merge_shapes=False).objects.items()):
        box = shape.mi_mesh.bbox()
        if _away(centre, np.array(box.min)[:2], np.array(box.max)[:2]) > radius:
            continue  # cheaply: a city has thousands
        params = mi.traverse(shape.mi_mesh)
        vertices = np.array(params["vertex_positions"], dtype=np.float32).reshape(-1, 3)
        faces = np.array(params["faces"], dtype=np.uint32).reshape(-1, 3)
        corners = vertices[faces, :2]
        faces = faces[_away(centre, corners.min(1), corners.max(1)) < radius]
        if len(faces):
            shade = 0.75 + 0.5 * ((number * 0.618) % 1.0)  # golden ratio: neighbours never look the same
            material = shape.radio_material.name.removeprefix("itu_")
            paint = COLOURS.get("car" if name.startswith("car") else material, COLOURS["concrete"])
            colour = np.multiply(paint, shade if len(vertices) > 4 else 0.6)  # the ground is darker
            colours = np.broadcast_to(np.float32(colour), faces.shape)
            parts[material].append(Mesh(name, vertices, faces, colours, material))
    if not parts:
        raise InputError(f"{scene}: nothing within {radius:g} m of {centre}; choose another centre")
    meshes = []
    for material, found in sorted(parts.items()):
        whole = _join(f"static-{material}", found, material if defined(material, frequency) else STAND_IN)
        used, compact = np.unique(whole.faces, return_inverse=True)
        meshes.append(replace(whole, vertices=whole.vertices[used], faces=compact.astype(np.uint32).reshape(-1, 3)))
    return meshes


def _join(name: str, parts: Sequence[Mesh], material: str) -> Mesh:
    """The triangles of several meshes as one."""
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])[:-1]
    return Mesh(
        name,
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + np.uint32(start) for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.colours for part in parts]),
        material,
    )


def _away(centre: tuple[float, float], low: NDArray[np.floating], high: NDArray[np.floating]) -> NDArray[np.floating]:
    """Distance of a point from upright boxes: [...] for corners [..., 2]."""
    return np.asarray(np.linalg.norm(np.clip(centre, low, high) - centre, axis=-1))


class Street:
    """Static meshes, and moving ones given in coordinates of their own (origin on the ground, +x ahead).

    The radio scene and the camera's are built once; a step moves vertices only.

    Args:
        static: see `surroundings`.
        moving: of one material; they start where they were made.
        camera: what `picture` looks through.
        sun: direction that its light travels in, [3].
        frequency: carrier, Hz.

    Raises:
        InputError: sionna-rt or LLVM missing.
    """

    def __init__(
        self,
        static: Sequence[Mesh],
        moving: Sequence[Mesh],
        camera: Camera,
        sun: NDArray[np.floating],
        frequency: float,
    ) -> None:
        rt = require_sionna()
        import mitsuba as mi

        self.moving = tuple(moving)
        # one mesh for all that moves: an update costs the engine the same whatever the mesh holds
        meshes = [*static, _join("moving", moving, moving[0].material)]
        self._radio = rt.load_scene()
        itu = {
            name: rt.ITURadioMaterial(f"street-{name}", name, 0.3) for name in dict.fromkeys(m.material for m in meshes)
        }
        objects = []
        for mesh in meshes:
            shape = _fill(mi.Mesh(mesh.name, len(mesh.vertices), len(mesh.faces)), mesh)
            objects.append(rt.SceneObject(mi_mesh=shape, name=mesh.name, radio_material=itu[mesh.material]))
        self._radio.edit(add=objects)
        self._radio.frequency = frequency
        # made in Mitsuba's variant for colours, used in Sionna RT's: each change between them takes 0.2 s
        with mi.util.scoped_set_variant("llvm_ad_rgb"):
            self._light = _light_scene(meshes, camera, sun)
            self._light_params = mi.traverse(self._light)

    def move(self, poses: NDArray[np.floating]) -> None:
        """Puts every moving mesh where it is now.

        Args:
            poses: [M, 3] x, y in m and heading in rad of each mesh of `moving`.
        """
        vertices = []
        for mesh, (x, y, heading) in zip(self.moving, np.asarray(poses, dtype=np.float64), strict=True):
            cosine, sine = np.cos(heading), np.sin(heading)
            vertices.append(mesh.vertices @ np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]]) + [x, y, 0])
        for params in (self._radio.mi_scene_params, self._light_params):
            params["moving.vertex_positions"] = np.concatenate(vertices).astype(np.float32).ravel()
            params.update()

    def paths(self, bs: NDArray[np.floating], ue: NDArray[np.floating], config: RayTracing) -> Paths:
        """The paths now, isotropic antennas; arguments and links as in `ray_tracing.trace_scene`."""
        return trace_scene(self._radio, bs, ue, config)

    def picture(self, samples: int, seed: int) -> NDArray[np.uint8]:
        """What the camera sees now: sRGB uint8 [height, width, 3], row 0 at the top.

        Args:
            samples: light paths per pixel.
            seed: of them; the same seed gives the same bytes.
        """
        film = self._light.integrator().render(self._light, self._light.sensors()[0], seed=seed, spp=samples)
        linear = np.clip(film.numpy(), 0, 1)
        srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        return np.asarray(np.rint(255 * srgb), dtype=np.uint8)


def _fill(shape: Any, mesh: Mesh) -> Any:
    """The Mitsuba mesh with the triangles of `mesh`."""
    import mitsuba as mi

    params = mi.traverse(shape)
    params["vertex_positions"] = mesh.vertices.ravel()
    params["faces"] = mesh.faces.ravel()
    params.update()
    return shape


def _light_scene(meshes: Sequence[Mesh], camera: Camera, sun: NDArray[np.floating]) -> Any:
    """The scene as light sees it: matt surfaces, a sky and a sun."""
    import mitsuba as mi

    paint = {"type": "diffuse", "reflectance": {"type": "mesh_attribute", "name": "face_colour"}}
    matt = mi.load_dict({"type": "twosided", "nested": paint})
    ahead = np.array([np.cos(camera.azimuth), np.sin(camera.azimuth), 0.0])
    scene: dict[str, Any] = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": BOUNCES},
        "sky": {"type": "constant", "radiance": {"type": "rgb", "value": list(SKY)}},
        "sun": {
            "type": "directional",
            "direction": [float(v) for v in sun],
            "irradiance": {"type": "rgb", "value": list(SUN)},
        },
        "sensor": {
            "type": "perspective",
            "to_world": mi.ScalarTransform4f().look_at(
                origin=list(camera.position), target=(np.array(camera.position) + ahead).tolist(), up=[0, 0, 1]
            ),
            "fov": float(np.rad2deg(camera.view)),
            "fov_axis": "x",
            "near_clip": 0.1,
            "far_clip": 2000.0,
            "film": {
                "type": "hdrfilm",
                "width": camera.size[0],
                "height": camera.size[1],
                "pixel_format": "rgb",
                "rfilter": {"type": "box"},
            },
            "sampler": {"type": "multijitter"},
        },
    }
    for mesh in meshes:
        props = mi.Properties()
        props["bsdf"] = matt
        props["face_normals"] = True
        shape = mi.Mesh(mesh.name, len(mesh.vertices), len(mesh.faces), props)
        shape.add_attribute("face_colour", 3, mesh.colours.ravel().tolist())
        scene[mesh.name] = _fill(shape, mesh)
    return mi.load_dict(scene)
