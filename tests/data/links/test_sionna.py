"""A user's own Sionna RT scene and paths as links: geometry, map and channel agree with the scene's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from tests.data.synthetic import assert_same
from tests.tracer import needs_tracer
from uniair.area.area import Area
from uniair.area.raster import occupancy
from uniair.data.import_report import ImportReport
from uniair.data.links import sionna
from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.propagation.ray_tracing import RayTracing, build_scene, require_sionna, trace
from uniair.radio import OFDM, SPEED_OF_LIGHT, ULA, UPA, Array, Radio

CONFIG = RayTracing(depth=1, diffraction=False, samples=2000)
BUILDINGS = (box(-70, 30, 20, 50), box(-30, -60, 60, -40), box(80, -20, 90, 70))
AREA = Area("test", BUILDINGS, np.array([20.0, 12.0, 1.5]), (-80.0, -70.0, 100.0, 80.0))  # the last is a low wall
BS = np.array([[-40.0, 0.0, 6.0], [50.0, 10.0, 6.0]])
UE = np.array([[0.0, 10.0, 1.5], [-60.0, -50.0, 1.5], [70.0, 60.0, 1.5]])


def solved(scene: Any, **options: Any) -> Any:
    """What a user writes: devices, a solver."""
    rt = require_sionna()
    for i, position in enumerate(BS):
        scene.add(rt.Transmitter(f"mast-{i}", position=position.tolist()))
    for i, position in enumerate(UE):
        scene.add(rt.Receiver(f"phone-{i}", position=position.tolist()))
    return rt.PathSolver(deterministic=True)(scene, max_depth=1, samples_per_src=2000, **options)


@needs_tracer
def test_a_users_paths_become_links() -> None:
    scene = build_scene(AREA, CONFIG)
    links = sionna.links_of(solved(scene), scene, "home/00000", pixels=90, bearing=np.array([0.0, 0.5]))
    assert links.areas == ("home/00000",)
    assert links.sizes.tolist() == [180.0]
    corner = [-80.0, -70.0, 0.0]
    np.testing.assert_allclose(links.bs, np.repeat(BS, 3, axis=0) - corner, atol=1e-4)
    np.testing.assert_allclose(links.ue, np.tile(UE, (2, 1)) - corner, atol=1e-4)
    np.testing.assert_allclose(links.bearing, [0, 0, 0, 0.5, 0.5, 0.5])
    traced = trace(AREA, BS, UE, CONFIG)
    assert links.los.tolist() == traced.los().tolist()
    # the same rays with the carrier's phase in them
    np.testing.assert_allclose(links.paths.gain, traced.gain, atol=1e-4 * np.abs(traced.gain).max())
    direct = links.paths.delay[links.paths.offsets[:-1]][links.los] * SPEED_OF_LIGHT
    np.testing.assert_allclose(direct, np.linalg.norm(links.bs - links.ue, axis=1)[links.los], rtol=1e-5)


@needs_tracer
def test_the_map_is_what_stands_two_metres_above_the_ground() -> None:
    links = sionna.trace_links(build_scene(AREA, CONFIG), BS, UE, CONFIG, pixels=90)
    tall = Area("tall", BUILDINGS[:2], np.array([20.0, 12.0]), AREA.bounds)
    np.testing.assert_array_equal(links.maps[0], occupancy(tall, 90))


@needs_tracer
def test_a_hill_is_no_building() -> None:
    rt = require_sionna()
    import mitsuba as mi

    scene = build_scene(AREA, CONFIG)
    slope = mi.Mesh("slope", 3, 1)
    params = mi.traverse(slope)
    params["vertex_positions"] = np.array([100, 0, 0, 200, 0, 40, 200, 80, 40], dtype=np.float32)
    params["faces"] = np.array([0, 1, 2], dtype=np.uint32)
    params.update()
    scene.edit(add=rt.SceneObject(mi_mesh=slope, name="slope", radio_material=rt.ITURadioMaterial("m", "wood", 0.1)))
    links = sionna.trace_links(scene, BS, UE, CONFIG, pixels=140)
    assert links.sizes.tolist() == [280.0]
    assert links.maps[0][:, :90].any()
    assert not links.maps[0][:, 90:].any()


@needs_tracer
def test_tracing_a_scene_is_solving_it_and_converting() -> None:
    scene, other = build_scene(AREA, CONFIG), build_scene(AREA, CONFIG)
    paths = solved(other, max_num_paths_per_src=1_000_000, seed=1)
    assert_same(sionna.trace_links(scene, BS, UE, CONFIG), sionna.links_of(paths, other))


@needs_tracer
def test_devices_outside_the_geometry_widen_the_area() -> None:
    far = np.array([[300.0, 0.0, 1.5]])
    links = sionna.trace_links(build_scene(AREA, CONFIG), BS[:1], far, CONFIG)
    assert links.sizes.tolist() == [380.0]
    np.testing.assert_allclose(links.ue, [[380.0, 70.0, 1.5]], atol=1e-4)


@needs_tracer
def test_links_without_a_path_are_left_out() -> None:
    blind = RayTracing(depth=1, reflection=False, diffraction=False, samples=1000)
    hidden = np.array([[0.0, 70.0, 1.5], [0.0, 10.0, 1.5]])
    links = sionna.trace_links(build_scene(AREA, blind), BS[:1], hidden, blind)
    np.testing.assert_allclose(links.ue, [[80.0, 80.0, 1.5]], atol=1e-4)
    assert len(sionna.trace_links(build_scene(AREA, blind), BS[:1], hidden[:1], blind)) == 0


ARRAYS = {
    "line": {"num_rows": 1, "num_cols": 4, "horizontal_spacing": 0.7},
    "column": {"num_rows": 4, "num_cols": 1},
    "panel": {"num_rows": 3, "num_cols": 4, "vertical_spacing": 0.7, "horizontal_spacing": 0.45},
}
OURS = {"line": ULA(4, 0.7), "column": UPA(4, 1), "panel": UPA(3, 4, 0.7, 0.45)}


def seen_by(scene: Any, facing: Any = ((0.3, 0, 0), (2.0, 0, 0)), **array: Any) -> Any:
    """Paths of a scene with an array of the user's own, its transmitters turned; [azimuth, tilt, roll] rad of each."""
    rt = require_sionna()
    scene.tx_array = rt.PlanarArray(**{"pattern": "iso", "polarization": "V", **array})
    for i, (position, turn) in enumerate(zip(BS, facing, strict=True)):
        turn = [float(angle) for angle in turn]
        scene.add(rt.Transmitter(f"mast-{i}", position=position.tolist(), orientation=turn))
    for i, position in enumerate(UE):
        scene.add(rt.Receiver(f"phone-{i}", position=position.tolist()))
    return rt.PathSolver(deterministic=True)(scene, max_depth=2, samples_per_src=20_000, diffraction=True)


def frequency_response(paths: Any, radio: Radio) -> np.ndarray:
    """Sionna RT's own channel of every link, BS-major, at the radio's subcarriers: [N, E, K]."""
    response = paths.cfr(frequencies=radio.grid.frequencies, normalize_delays=False, out_type="numpy")
    return response[:, 0, :, :, 0].transpose(1, 0, 2, 3).reshape(len(BS) * len(UE), -1, radio.grid.subcarriers)


def assert_same_channel(ours: np.ndarray, theirs: np.ndarray, least: float = 0.99999) -> None:
    ours, theirs = ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    assert (np.abs((ours.conj() * theirs).sum(1)) / norms).min() > least


@needs_tracer
@pytest.mark.parametrize("carrier", [28e9, 3.5e9])
@pytest.mark.parametrize("pattern", ["iso", "tr38901"])
@pytest.mark.parametrize("name", list(ARRAYS))
def test_the_scenes_array_comes_in_and_the_channel_is_sionnas_own(name: str, pattern: str, carrier: float) -> None:
    config = RayTracing(depth=2, samples=20_000, frequency=carrier)
    scene = build_scene(AREA, config)
    paths = seen_by(scene, **ARRAYS[name], pattern=pattern)
    links = sionna.links_of(paths, scene)
    radio = links.one_radio()
    assert radio == Radio(replace(OURS[name], pattern={"iso": "isotropic"}.get(pattern, pattern)), carrier=carrier)
    assert len(links) == 6
    np.testing.assert_allclose(links.bearing, np.repeat([0.3 - np.pi / 2, 2.0 - np.pi / 2], 3), atol=1e-6)
    rows, columns = ARRAYS[name]["num_rows"], ARRAYS[name]["num_cols"]
    ours = np.arange(rows * columns).reshape(columns, rows).T.ravel()  # theirs are numbered column by column
    response = frequency_response(paths, radio)[:, ours]
    assert_same_channel(links.paths.csi(radio, links.bearing).numpy(), response)
    strength = np.abs(links.paths.gain)
    first = np.zeros(len(strength), dtype=bool)
    first[links.paths.offsets[:-1]] = True
    assert (np.diff(strength)[~first[1:]] <= 0).all()  # strongest first, patterns taken out or not
    kept = scene.tx_array, scene.rx_array
    traced = sionna.trace_links(scene, BS, UE, config, bearing=np.array([0.3, 2.0]) - np.pi / 2)
    assert (scene.tx_array, scene.rx_array) == kept
    assert traced.one_radio() == radio
    # the 25 strongest paths alone
    assert_same_channel(traced.paths.csi(radio, traced.bearing).numpy(), response, least=0.99)
    assert traced.los.tolist() == links.los.tolist()
    direct = [one.paths.offsets[:-1][one.los] for one in (links, traced)]
    gains = links.paths.gain[direct[0]], traced.paths.gain[direct[1]]
    np.testing.assert_allclose(gains[0], gains[1], rtol=0.02)  # the pattern is in neither


@needs_tracer
def test_one_tilt_becomes_an_array_of_its_own() -> None:
    scene = build_scene(AREA, CONFIG)
    paths = seen_by(scene, ((0.3, 0.2, 0.1), (2.0, 0.2, 0.1)), **ARRAYS["panel"])
    links = sionna.links_of(paths, scene)
    assert isinstance(links.one_radio().array, Array)
    response = frequency_response(paths, links.one_radio())[:, np.arange(12).reshape(4, 3).T.ravel()]
    assert_same_channel(links.paths.csi(links.one_radio(), links.bearing).numpy(), response)


@needs_tracer
def test_the_scenes_bandwidth_comes_in_when_it_was_set() -> None:
    scene = build_scene(AREA, CONFIG)
    assert sionna.trace_links(scene, BS, UE, CONFIG).one_radio() == Radio()
    scene.bandwidth = 15.36e6
    scene.frequency = 60e9  # which float32 does not hold
    assert sionna.trace_links(scene, BS, UE, CONFIG).one_radio() == Radio(grid=OFDM(64, 240e3), carrier=60e9)


@needs_tracer
def test_a_bearing_may_be_given_and_must_be_the_paths_own() -> None:
    scene = build_scene(AREA, CONFIG)
    paths = seen_by(scene, **ARRAYS["line"])
    for device in scene.transmitters:
        scene.remove(device)
    with pytest.raises(InputError, match="no transmitter of the scene stands at -40, 0, 6; give bearing"):
        sionna.links_of(paths, scene)
    links = sionna.links_of(paths, scene, bearing=np.array([0.3, 2.0]) - np.pi / 2)
    assert_same_channel(
        links.paths.csi(links.one_radio(), links.bearing).numpy(), frequency_response(paths, links.one_radio())
    )
    with pytest.raises(InputError, match=r"phases over the antennas are not those of scene\.tx_array"):
        sionna.links_of(paths, scene, bearing=0.0)
    scene.tx_array = require_sionna().PlanarArray(num_rows=1, num_cols=2, pattern="iso", polarization="V")
    with pytest.raises(InputError, match=r"paths have 4 antennas a transmitter, scene\.tx_array 2"):
        sionna.links_of(paths, scene, bearing=0.0)


@needs_tracer
@pytest.mark.parametrize(
    ("facing", "pattern"), [(((0, 0.1, 0), (0, 0.2, 0)), "iso"), (((0, 0.1, 0), (0, 0.1, 0)), "tr38901")]
)
def test_tilts_that_one_radio_cannot_have_are_refused(facing: Any, pattern: str) -> None:
    scene = build_scene(AREA, CONFIG)
    with pytest.raises(InputError, match="transmitters are tilted or rolled") as error:
        sionna.links_of(seen_by(scene, facing, **ARRAYS["line"], pattern=pattern), scene)
    assert "\n" not in str(error.value)


@needs_tracer
def test_what_a_radio_cannot_have_is_refused_with_the_remedy() -> None:
    rt = require_sionna()
    scene = build_scene(AREA, CONFIG)
    with pytest.raises(InputError, match="synthetic_array=True"):
        sionna.links_of(solved(scene, synthetic_array=False), scene)
    for pattern, polarization in (("iso", "VH"), ("iso", "H"), ("dipole", "V"), ("tr38901", "cross")):
        odd = rt.PlanarArray(num_rows=1, num_cols=1, pattern=pattern, polarization=polarization)
        for side, remedy in (
            ("tx_array", "set pattern to 'iso' or 'tr38901'"),
            ("rx_array", r"set it to rt\.PlanarArray"),
        ):
            scene = build_scene(AREA, CONFIG)
            setattr(scene, side, odd)
            with pytest.raises(InputError, match=remedy):
                sionna.links_of(solved(scene), scene)
            with pytest.raises(InputError, match=remedy):
                sionna.trace_links(scene, BS, UE, CONFIG)


def table(path: Path, positions: Any, header: str = "x,y,z") -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in positions)]) + "\n", encoding="utf-8")
    return path


@needs_tracer
def test_a_packaged_scene_streams_in_chunks_of_one_area(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bs = table(tmp_path / "bs.csv", [(-20, 5, 10)])
    ue = table(tmp_path / "ue.csv", [(x, 0, 1.5) for x in (-40, 0, 20, 40, 60)], header=" X,Y,z")
    report = ImportReport()
    (whole,) = sionna.read("sionna:simple_street_canyon", report, bs=bs, ue=ue, config=CONFIG, pixels=64)
    assert whole.areas == ("sionna_simple_street_canyon/00000",)
    assert report.found == {"links": 5, "LOS links": 5}
    assert 0.1 < whole.maps.mean() < 0.5
    rows, columns = (whole.ue[:, (1, 0)] / whole.sizes[0] * 64).astype(int).T
    assert not whole.maps[0, rows, columns].any()  # the street is open
    monkeypatch.setattr(sionna, "USERS_PER_CHUNK", 2)
    parts = list(
        sionna.read(Path("sionna:simple_street_canyon"), ImportReport(), bs=bs, ue=ue, config=CONFIG, pixels=64)
    )
    assert [len(part) for part in parts] == [2, 2, 1]
    assert {part.areas for part in parts} == {whole.areas}
    together = Links.concatenate(parts)
    np.testing.assert_array_equal(together.ue, whole.ue)
    np.testing.assert_array_equal(together.maps[1], whole.maps[0])


@needs_tracer
def test_the_radio_of_a_scene_file_is_what_the_user_says(tmp_path: Path) -> None:
    bs, ue = table(tmp_path / "bs.csv", [(-20, 5, 10)]), table(tmp_path / "ue.csv", [(0, 0, 1.5)])
    config = RayTracing(depth=1, diffraction=False, samples=2000, frequency=3.5e9)
    options: dict[str, Any] = {"bs": bs, "ue": ue, "pixels": 16, "config": config}
    source = "sionna:simple_street_canyon"
    (links,) = sionna.read(source, ImportReport(), **options)
    assert links.one_radio() == Radio(carrier=3.5e9)
    said = {"array": {"kind": "upa", "rows": 2, "columns": 4}}
    (links,) = sionna.read(source, ImportReport(), **options, radio=said)
    assert links.one_radio() == Radio(UPA(2, 4), carrier=3.5e9)
    with pytest.raises(InputError, match=r"3\.5 GHz, --radio says 28 GHz; .* --ray_tracing\.frequency"):
        next(sionna.read(source, ImportReport(), **options, radio=Radio().to_json()))


@needs_tracer
def test_a_scene_file_takes_its_name_and_a_broken_one_is_named(tmp_path: Path) -> None:
    rt = require_sionna()
    bs, ue = table(tmp_path / "bs.csv", [(1, -1, 2)]), table(tmp_path / "ue.csv", [(1, 1, 1.5)])
    source = Path(rt.__file__).parent / "scenes" / "floor_wall" / "floor_wall.xml"
    (links,) = sionna.read(source, ImportReport(), bs=bs, ue=ue, config=CONFIG, pixels=16)
    assert links.areas == ("floor_wall/00000",)
    for text in ("", "<scene", "<scene version='2.1.0'><shape type='sphere'/></scene>", "<scene><nothing/></scene>"):
        (tmp_path / "broken.xml").write_text(text)
        with pytest.raises(InputError, match=r"broken\.xml: not a readable Sionna RT scene") as caught:
            next(sionna.read(tmp_path / "broken.xml", ImportReport(), bs=bs, ue=ue))
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"sionna:atlantis: no such scene .*munich"):
        next(sionna.read("sionna:atlantis", ImportReport(), bs=bs, ue=ue))
    with pytest.raises(InputError, match=r"nowhere\.xml: no such scene"):
        next(sionna.read(tmp_path / "nowhere.xml", ImportReport(), bs=bs, ue=ue))


@needs_tracer
def test_a_carrier_that_a_material_does_not_know_is_refused(tmp_path: Path) -> None:
    bs, ue = table(tmp_path / "bs.csv", [(0, 0, 3)]), table(tmp_path / "ue.csv", [(0, 2, 1.5)])
    with pytest.raises(InputError, match=r"not defined at 70 GHz .*brick") as caught:
        next(sionna.read("sionna:floor_wall", ImportReport(), bs=bs, ue=ue, config=RayTracing(frequency=70e9)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file"),
        ("", "not a table"),
        ("x,y,z\n", "no positions"),
        ("1,2,3\n4,5,6\n", "its header is '1,2,3'; the first line must be x,y,z"),
        ("x,y,z\n1,2\n", "three finite numbers"),
        ("x,y,z\n1,2,3\n1,2\n", "not a table of numbers"),
        ("x,y,z\n1,2,north\n", "not a table of numbers"),
        ("x,y,z\n1,2,nan\n", "three finite numbers"),
        ("\xff\xfe\x00", "not a table of numbers"),
    ],
)
def test_position_files_are_checked_before_anything_is_traced(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "bs.csv"
    if text is not None:
        path.write_text(text, encoding="latin1")
    with pytest.raises(InputError) as caught:
        next(sionna.read("sionna:munich", ImportReport(), bs=path, ue=path))
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
