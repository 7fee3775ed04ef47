"""A digital twin of DeepSense 6G: drives by a roadside 60 GHz receiver with a camera, in the data set's own layout.

Nothing of it is measured, so what is trained on it may be released. The reader in
`uniair.data.drives.deepsense` takes it unchanged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from uniair.data.drives.drive import ECCENTRICITY_SQUARED, SEMI_MAJOR_AXIS
from uniair.data.drives.traffic import KINDS, Lane, Traffic, drive_through, mesh
from uniair.errors import InputError
from uniair.propagation.paths import Paths
from uniair.propagation.ray_tracing import RayTracing
from uniair.propagation.street import Camera, Mesh, Street, surroundings
from uniair.radio import OFDM, ULA, Radio

NOISE_DENSITY = 1.380649e-23 * 290 * 1e12  # k T₀, pW/Hz
ROOF = 0.25  # m from the car's roof up to its antenna: clear of its own metal
VIEW = math.radians(55.0)  # half of the camera's view; drives are recorded within it
SURROUNDINGS = 110.0  # m around the BS that are kept of a city


@dataclass(frozen=True)
class Site:
    """A straight street and the base station beside it: one scenario.

    Attributes:
        scenario: its number; from 101, so that no measured scenario is meant.
        scene: of the sionna-rt wheel.
        street: a point on the street's axis, x and y in m, and the axis's azimuth in °.
        lanes: of the street.
        bs: of the antenna, m along the axis from that point, m to its left, m above the ground.
        turn: ° that array and camera are turned from the perpendicular to the street, to the left.
        origin: latitude and longitude of the scene's (0, 0), °.
        own_lanes: those that the UE takes; none: all.
        heavy: share of buses and trucks in the traffic; None: as in `KINDS`.
    """

    scenario: int
    scene: str
    street: tuple[float, float, float]
    lanes: tuple[Lane, ...]
    bs: tuple[float, float, float]
    turn: float = 0.0
    origin: tuple[float, float] = (48.137, 11.575)
    own_lanes: tuple[Lane, ...] = ()
    heavy: float | None = None

    @property
    def azimuth(self) -> float:
        """Of the axis, rad."""
        return math.radians(self.street[2])

    @property
    def boresight(self) -> float:
        """Azimuth that array and camera face, across the street, rad."""
        return self.azimuth + math.radians(self.turn) + (-math.pi / 2 if self.bs[1] > 0 else math.pi / 2)

    def place(self, along: NDArray[np.floating] | float, left: NDArray[np.floating] | float) -> NDArray[np.float64]:
        """[..., 2] x and y of places along and to the left of the axis, m."""
        ahead = np.array([math.cos(self.azimuth), math.sin(self.azimuth)])
        along, left = np.asarray(along)[..., None], np.asarray(left)[..., None]
        return np.asarray(self.street[:2] + along * ahead + left * np.array([-ahead[1], ahead[0]]))

    @property
    def antenna(self) -> NDArray[np.float64]:
        """[3] of the BS, m."""
        return np.append(self.place(*self.bs[:2]), self.bs[2])

    def window(self, lane: Lane) -> tuple[float, float]:
        """Where the camera sees a lane: smallest and largest place along the axis, m."""
        reach = []
        for edge in (-VIEW, VIEW):
            angle = self.boresight + edge - self.azimuth
            reach.append(self.bs[0] + (lane.offset - self.bs[1]) * math.cos(angle) / math.sin(angle))
        return min(reach), max(reach)


TWO = (Lane(-1.75, 1), Lane(1.75, -1))  # right-hand traffic
FOUR = (*TWO, Lane(-5.25, 1), Lane(5.25, -1))
CANYON = "simple_street_canyon_with_cars"
SITES = (
    Site(101, CANYON, (0.0, 0.4, 0.0), TWO, (2.0, -8.0, 3.0)),
    Site(102, CANYON, (24.0, 0.4, 0.0), TWO, (0.0, 18.0, 4.0)),  # set back between two houses
    Site(103, CANYON, (24.0, -10.0, 90.0), TWO, (-6.0, 7.2, 2.4), turn=15.0),  # in the street that crosses
    Site(104, "munich", (11.1, 179.2, 72.0), (Lane(0.0, 1), Lane(3.5, -1)), (0.0, 10.2, 3.5)),
    Site(105, "munich", (-217.8, -28.5, 156.0), TWO, (0.0, -8.7, 2.2)),
    Site(106, "munich", (241.2, -218.9, 160.0), FOUR, (0.0, -20.0, 5.0)),
    Site(107, "munich", (152.4, -191.2, 156.0), FOUR, (0.0, 12.2, 3.0), turn=-12.0),
    Site(108, "munich", (-188.6, 228.2, 156.0), FOUR, (0.0, 21.0, 6.0)),
)
# the same streets with the antenna at the height of a lamp or a bus stop, the UE beyond the lanes of buses and trucks,
# and two antennas round a corner
BLOCKED_SITES = (
    Site(111, CANYON, (0.0, 0.4, 0.0), TWO, (2.0, -8.0, 2.2), own_lanes=TWO[1:], heavy=0.6),
    Site(112, "munich", (-217.8, -28.5, 156.0), TWO, (0.0, -8.7, 2.2), own_lanes=TWO[1:], heavy=0.6),
    Site(113, "munich", (241.2, -218.9, 160.0), FOUR, (0.0, -20.0, 2.5), own_lanes=(TWO[1], FOUR[3]), heavy=0.6),
    Site(114, "munich", (152.4, -191.2, 156.0), FOUR, (0.0, 12.2, 2.5), -12.0, own_lanes=(TWO[0], FOUR[2]), heavy=0.6),
    Site(115, CANYON, (24.0, 0.4, 0.0), TWO, (-4.0, -18.0, 4.0)),
    Site(116, CANYON, (24.0, 0.4, 0.0), TWO, (4.0, 20.0, 3.0), heavy=0.4),
)
ALL_SITES = {"open": SITES, "blocked": BLOCKED_SITES, "all": SITES + BLOCKED_SITES}


@dataclass(frozen=True)
class Twin:
    """What to make; the defaults follow DeepSense 6G (Alkhateeb et al. 2023) where it says.

    Attributes:
        sites: a scenario each.
        drives: of each site; more of them leave the first ones as they are.
        least_steps, most_steps: of a drive.
        rate: steps per second.
        antennas: of the ULA, half a wavelength apart, each with the element pattern of 3GPP TR 38.901.
        beams: of the codebook, see `directions`.
        oversampling: DFT beams per antenna.
        eirp: of the UE, dBm; so weak that the best beam stands 5 to 15 dB over the floor, as in the measured drives.
        noise_figure: dB.
        ofdm: subcarriers that the power is summed over.
        paths: whether the paths of each step are kept, with the speed of the UE: CSI of any radio at this carrier is
            made from them (`StepPaths`). A step without any path has none.
        true_positions: whether it is also kept where the UE really was, beside what GPS says: what a forecast of its
            position is measured by.
        gps_error: standard deviation along each axis, m; two axes of 1 m are 1.25 m off on average.
        gps_memory: s until the error has forgotten itself.
        gps_lost: share of the steps without a fix, in runs of five on average; written as (0, 0).
        clear: share of the drives without other traffic.
        density: least and most vehicles per metre of lane in the others.
        frame: width and height of a picture, pixels.
        samples: light paths per pixel.
        seed: of everything drawn.
        ray_tracing: see `RayTracing`.
    """

    sites: tuple[Site, ...] = SITES
    drives: int = 40
    least_steps: int = 20
    most_steps: int = 80
    rate: float = 10.0
    antennas: int = 16
    beams: int = 64
    oversampling: int = 5
    eirp: float = -7.0
    noise_figure: float = 8.0
    ofdm: OFDM = OFDM(64, 312.5e3)
    paths: bool = True
    true_positions: bool = True
    gps_error: float = 1.0
    gps_memory: float = 20.0
    gps_lost: float = 0.01
    clear: float = 0.3
    density: tuple[float, float] = (0.01, 0.04)
    frame: tuple[int, int] = (224, 128)
    samples: int = 16
    seed: int = 0
    ray_tracing: RayTracing = field(
        default_factory=lambda: RayTracing(frequency=60e9, depth=2, samples=20_000, probe_users=0)
    )

    def __post_init__(self) -> None:
        numbers = [site.scenario for site in self.sites]
        if not numbers or len(set(numbers)) < len(numbers):
            raise InputError(f"twin: scenarios {numbers}; give one site or more, each with a number of its own")
        for name in ("drives", "antennas", "beams", "oversampling", "samples"):
            if getattr(self, name) < 1:
                raise InputError(f"twin: {name} is {getattr(self, name)}; it must be at least 1")
        if not 2 <= self.least_steps <= self.most_steps:
            raise InputError(
                f"twin: drives of {self.least_steps} to {self.most_steps} steps; give two numbers from 2, the smaller "
                "as least_steps"
            )
        if self.beams > self.antennas * self.oversampling:
            raise InputError(
                f"twin: {self.beams} beams of {self.antennas} antennas; there are only {self.oversampling} DFT beams "
                "an antenna, so raise oversampling"
            )

    @property
    def directions(self) -> NDArray[np.float64]:
        """[beams] direction cosine along the array that each beam points to, positive to the right of the picture.

        The middle beams of an over-sampled DFT: 64 of the 80 of 16 antennas, five times over-sampled, reach to ±52°,
        the sector that the beams of the measured scenarios 1 to 7 span.
        """
        return (2 * np.arange(self.beams) + 1 - self.beams) / (self.antennas * self.oversampling)


@dataclass(frozen=True)
class Recording:
    """A drive as the twin knows it, T steps.

    Attributes:
        traffic: of all vehicles.
        ue: float64 [T, 3] the UE's antenna in the scene, m.
        gps: float64 [T, 2] latitude and longitude as received, °; (0, 0) without a fix.
        power: float64 [T, beams] received power, pW.
        los: bool [T] whether the BS sees the antenna.
        pictures: uint8 [T, height, width, 3].
        paths: of each step, a link a step.
        velocity: float64 [T, 3] of the UE, m/s.
    """

    traffic: Traffic
    ue: NDArray[np.float64]
    gps: NDArray[np.float64]
    power: NDArray[np.float64]
    los: NDArray[np.bool_]
    pictures: NDArray[np.uint8]
    paths: Paths
    velocity: NDArray[np.float64]


def record(twin: Twin, site: Site, number: int) -> Recording:
    """Makes drive `number` of a site; depends on nothing but the settings, the site and the number.

    Raises:
        InputError: no such scene, sionna-rt or LLVM missing.
    """
    rng = np.random.default_rng([twin.seed, site.scenario, number])
    traffic = drive_through(
        site.lanes,
        {lane: site.window(lane) for lane in site.lanes},
        0.0 if rng.random() < twin.clear else rng.uniform(*twin.density),
        (twin.least_steps, twin.most_steps),
        1 / twin.rate,
        rng,
        site.own_lanes,
        site.heavy,
    )
    steps = len(traffic.along)
    places = site.place(traffic.along, np.array([lane.offset for lane in traffic.lanes]))  # [T, V, 2]
    ue = np.column_stack([places[:, 0], np.full(steps, KINDS[traffic.kinds[0]].height + ROOF)])
    gps = _gps(twin, site, ue[:, :2], rng)
    vehicles = [mesh(traffic.kinds[i], traffic.paints[i], f"vehicle-{i}") for i in range(len(traffic.kinds))]
    elevation, bearing = rng.uniform(np.deg2rad(25), np.deg2rad(65)), rng.uniform(0, 2 * np.pi)
    sun = -np.array([np.cos(elevation) * np.cos(bearing), np.cos(elevation) * np.sin(bearing), np.sin(elevation)])
    camera = Camera(tuple(site.antenna.tolist()), site.boresight, 2 * VIEW, twin.frame)
    static = _surroundings(site.scene, tuple(site.antenna[:2].tolist()), twin.ray_tracing.frequency)
    street = Street(static, vehicles, camera, sun, twin.ray_tracing.frequency)
    headings = [site.azimuth + (0.0 if lane.direction > 0 else np.pi) for lane in traffic.lanes]
    grain = rng.integers(2**31, size=steps)
    found, pictures = [], []
    for step in range(steps):
        street.move(np.column_stack([places[step], headings]))
        found.append(street.paths(site.antenna[None], ue[step, None], twin.ray_tracing))
        pictures.append(street.picture(twin.samples, int(grain[step])))
    paths = Paths.concatenate(found)
    power = received_power(twin, paths, site.boresight, rng)
    velocity = np.gradient(ue, 1 / twin.rate, axis=0)
    return Recording(traffic, ue, gps, power, paths.los(), np.stack(pictures), paths, velocity)


@lru_cache(maxsize=32)
def _surroundings(scene: str, centre: tuple[float, float], frequency: float) -> list[Mesh]:
    return surroundings(scene, centre, SURROUNDINGS, frequency)


def received_power(twin: Twin, paths: Paths, boresight: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """What the receiver measures with each beam of its codebook: float64 [N, beams], pW.

    p_b = Σ_k |w_bᴴ h_k √P + n_bk|² over the subcarriers k, with thermal noise n_bk of k T₀ Δf F: beams are measured one
    after the other, so that each has noise of its own.

    Args:
        paths: of N links, isotropic antennas.
        boresight: azimuth that the array faces, rad.
        rng: of the noise.
    """
    array = ULA(twin.antennas, pattern="tr38901")
    radio = Radio(array, twin.ofdm, twin.ray_tracing.frequency)
    csi = paths.csi(radio, boresight - np.pi / 2)
    along = torch.from_numpy(twin.directions)[:, None]
    weights = ULA(twin.antennas).response(along) / math.sqrt(twin.antennas)
    signal = torch.einsum("ba,nak->nbk", weights.conj(), csi).numpy().astype(np.complex128)
    signal *= math.sqrt(10 ** (twin.eirp / 10) * 1e9 / twin.ofdm.subcarriers)  # mW to pW
    noise = math.sqrt(NOISE_DENSITY * twin.ofdm.spacing * 10 ** (twin.noise_figure / 10) / 2)
    signal += noise * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
    return np.asarray((np.abs(signal) ** 2).sum(-1))


def _gps(twin: Twin, site: Site, xy: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Fixes for true places [T, 2]: a first-order Gauss-Markov error, and runs of steps without any."""
    keep = math.exp(-1 / (twin.rate * twin.gps_memory))
    error = np.empty_like(xy)
    error[0] = rng.standard_normal(2)
    for step in range(1, len(xy)):
        error[step] = keep * error[step - 1] + math.sqrt(1 - keep**2) * rng.standard_normal(2)
    bs = geodetic(site.antenna[:2], site.origin)
    fixes = geodetic(xy + twin.gps_error * error - site.antenna[:2], (bs[0], bs[1]))
    run = 5.0  # steps
    begin, end = twin.gps_lost / (run * (1 - twin.gps_lost)), 1 / run
    lost = rng.random() < twin.gps_lost
    for step in range(len(xy)):
        if lost:
            fixes[step] = 0.0
        lost = rng.random() < (1 - end if lost else begin)
    return fixes


def geodetic(xy: NDArray[np.floating], origin: tuple[float, float]) -> NDArray[np.float64]:
    """Latitude and longitude [..., 2], °, of places [..., 2] m east and north of `origin`; undoes `Drive.position`."""
    latitude = math.radians(origin[0])
    w = 1 - ECCENTRICITY_SQUARED * math.sin(latitude) ** 2
    across = SEMI_MAJOR_AXIS / math.sqrt(w)
    north = np.rad2deg(xy[..., 1] / (across * (1 - ECCENTRICITY_SQUARED) / w))
    east = np.rad2deg(xy[..., 0] / (across * math.cos(latitude)))
    return np.stack([origin[0] + north, origin[1] + east], axis=-1)
