"""Answers for your own streets: from footprints and base stations to a site folder and a report, on a laptop.

FILE is a GeoJSON or OpenStreetMap extract (.osm, .osm.gz, .osm.pbf), a buildings.json, sionna:NAME, procedural:SEED, or
`example`, a generated town with a base station. The square is cut out, links are ray-traced, the pretrained model is
asked without tuning, and light heads, one a task, learn from some of the streets and are tested on others, beside
models trained from scratch. A killed run goes on where it stopped with the same command.

--bs is lon,lat[,height[,azimuth]] where FILE is geographic, else x,y[,height[,azimuth]] in its metres: height in m
above ground (6 where not given), or +3 for 3 m above the roof; azimuth, in degrees, is that of the boresight, clockwise
from north (0). Several stations: several --bs.

--sites is a file of masts and sectors instead, .csv, .geojson or .yaml: site, latitude and longitude (or x_m and y_m),
height_m or above_roof_m, azimuth_deg, mechanical_tilt_deg, electrical_tilt_deg, power_dbm, carrier_mhz, bandwidth_mhz,
spacing_khz, rows, columns, polarisation, pattern (iso, tr38901, or a .msi or .pln file), pci. What comes out is
coverage: RSRP, best server, SINR, throughput, path loss, delay and angular spread of users in the street and, with
--indoor, inside buildings, and maps. Users that no path reaches are kept as holes, and counted. --export writes
coverage as GeoTIFF, GeoPackage, GeoJSON, KML and CSV. A --model with weights for any radio is then asked about each
sector, with its own panel, carrier, band and tilt: zero-shot answers, heads, and positions by one, two and three
sectors. Weights of one radio can't read it, which is said; --model none asks nobody.

--radio is the radio of all of them: a file with its JSON, or the JSON itself, as uniair.Radio.to_json gives it; what is
left out is paper 1's (32 antennas half a wavelength apart, 64 × 720 kHz at 28 GHz, absolute clock). Links are traced at
its carrier, and measured CSI must be of it.

--measured is a table of your own measurements, one a row: .csv, .parquet, .npz, or a folder of .npy files. Columns:
  x, y or lon, lat   position, as in --bs; z: height, m (1.5)
  station            bs0, bs1, … in the order of --bs, or 0, 1, …; not needed with one
  csi                complex [N, antennas, subcarriers] of --radio; beside NAME.csv as NAME.csi.npy, .npz, .mat or .h5
  rsrp               dBm; with --transmit_power it becomes a path loss
  and the labels that --measured lists
A CSV may come from Excel, pandas or a drive-test tool: separator, decimal sign and encoding are found out. What other
columns hold is said by --columns; those that nothing names are not read, rows outside the square are left out, and both
are said. Heads learn from measured labels where a station has at least 40, and from traced ones otherwise.

With --sites, --measured is the log of a drive test, of the RSRP alone: the station is a sector's name or its PCI. It
is laid over the prediction; on half of the streets each sector's offset and the wall material are calibrated, on the
other half both predictions are tested. What was planned and what is calibrated are said side by side. Rows without a
position, RSRP or known sector are left out and counted.

--users is a file of your own positions instead of users drawn at random: a CSV of lon,lat or x,y (and z), a GPX track,
or points in GeoJSON. Those outside the square, inside buildings or that no path reaches are counted and said.

Example:
  uniair site example --out runs/site
  uniair site town.osm.pbf --bs 13.3501,52.5145 --bs 13.3512,52.5150,10,90 --out runs/site
  uniair site town.osm.pbf --sites sites.csv --side 600 --indoor 500 --export runs/gis --out runs/plan
  uniair site town.osm.pbf --sites sites.csv --measured log.csv --columns station=PCI --out runs/plan
  uniair site town.geojson --bs 13.3501,52.5145 --measured drive.csv --trace false --out runs/site
  uniair site example --radio '{"array": {"kind": "ula", "antennas": 16}, "carrier": 3.5e9}' --out runs/midband
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from uniair.errors import InputError
from uniair.propagation.ray_tracing import RayTracing
from uniair.radio import CLOCKS, Radio
from uniair.site.site_coverage import Planning, lines
from uniair.site.survey import EXAMPLE, EXAMPLE_STATIONS, OVER_ROOFS, POWER, Survey
from uniair.tasks.registry import columns
from uniair.training.heads import HeadTraining

if TYPE_CHECKING:
    from uniair.site.making import Request
    from uniair.site.site import Site

PLAN_SIDE = 600.0  # m; a square about macro sites
NEGATIVE = re.compile(r"^-\.?\d")


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("place", metavar="file", type=str, help="footprints, sionna:NAME, procedural:SEED or example")
    parser.add_argument("--bs", type=str, action="append", help="lon,lat[,height[,azimuth]] or x,y…; may be repeated")
    parser.add_argument("--sites", type=str | None, default=None, help="file of masts and sectors, instead of --bs")
    parser.add_argument("--out", type=str, required=True, help="the site folder")
    parser.add_argument("--radio", type=str | None, default=None, help="of all base stations: file or JSON")
    parser.add_argument("--side", type=float | None, default=None, help="of the square, m: 200, or 600 with --sites")
    parser.add_argument(
        "--centre", type=str | None, default=None, help="its middle, as --bs; else that of the stations"
    )
    parser.add_argument("--ue", type=int, default=2000, help="users outdoors, traced from each station")
    parser.add_argument("--users", type=str | None, default=None, help="file of positions or a track, instead of --ue")
    parser.add_argument("--indoor", type=int, default=0, help="users inside buildings, by floor; with --sites")
    parser.add_argument("--power", type=float, default=POWER, help="of each --bs, dBm, for its coverage")
    parser.add_argument("--load", type=float, default=Planning.load, help="of the other sectors, 0 to 1, for SINR")
    parser.add_argument("--hole", type=float, default=Planning.hole, help="RSRP below which nobody is covered, dBm")
    parser.add_argument("--walls", type=str, default=Planning.walls, help="entry loss of buildings: low or high")
    parser.add_argument("--cell", type=float, default=Planning.cell, help="of maps, m; 0: none. With --sites")
    parser.add_argument("--rays", type=int, default=Planning.rays, help="of each sector's map")
    parser.add_argument("--export", type=str | None, default=None, help="folder for files that a GIS opens")
    parser.add_argument("--least_height", type=float, default=0.0, help="raise lower buildings to it, m")
    parser.add_argument(
        "--model", type=str, default="small", help="packaged model or checkpoint folder; with --sites also none"
    )
    parser.add_argument("--clock", type=str | None, default=None,
                        help="of the channels that the model reads, with --sites: absolute or first_path")  # fmt: skip
    labels = "; ".join(f"{name}: {task.label.about}" for name, task in columns().items() if task.label is not None)
    parser.add_argument("--measured", type=str | None, default=None, help=f"table of csi or measured labels: {labels}")
    parser.add_argument("--columns", type=str, action="append", default=None, metavar="OURS=THEIRS",
                        help="what --measured calls a column, rsrp=SS-RSRP for instance; may be repeated")  # fmt: skip
    parser.add_argument("--cells", type=str, action="append", default=None, metavar="CELL=STATION",
                        help="which station or sector a cell is, 301=bs0 for instance")  # fmt: skip
    parser.add_argument("--materials", type=str | None, default=None, metavar="A,B",
                        help="of walls that calibration tries (ITU-R P.2040), with --sites")  # fmt: skip
    parser.add_argument("--transmit_power", type=float | None, default=None,
                        help="dBm a resource element, with antenna gains: path loss = it - rsrp")  # fmt: skip
    parser.add_argument("--first_beam", type=int | None, default=None, help="number of the first beam, 0 or 1")
    parser.add_argument("--axes", type=str | None, default=None,
                        help="of measured CSI, in its file's order: users,rx,tx,subcarriers for instance")  # fmt: skip
    parser.add_argument("--trace", type=bool, default=True, help="false: learn from measured labels alone")
    parser.add_argument("--epochs", type=int | None, default=None,
                        help="of the networks from scratch, 20, with --sites 0; 0 leaves them out")  # fmt: skip
    parser.add_argument("--explained", type=int, default=150,
                        help="channels of each --bs that the report says why of; 0 leaves it out")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=1, help="runs of all that learns, with other streets to test on")
    parser.add_argument("--seed", type=int, default=0, help="of users, streets, heads and heights that are not given")
    parser.add_class_arguments(HeadTraining, "training", skip={"seed", "weight_decay"})
    parser._negative_number_matcher = NEGATIVE  # so that --bs -73.57,45.50 is no option


def run(options: Any) -> dict[str, Any]:
    """Makes the site and prints what its sectors give, or what its heads reach."""
    from uniair.data.csi_files import parse_axes
    from uniair.site.making import Request, make
    from uniair.site.measured import Terms

    planned = options.sites is not None
    example = options.place == "example"
    typed = () if planned and not options.bs else tuple(options.bs or (EXAMPLE_STATIONS if example else ()))
    side = (PLAN_SIDE if planned else Survey.side) if options.side is None else options.side
    survey = Survey(
        EXAMPLE if example else options.place, typed, side, options.centre, options.ue, options.least_height,
        options.seed, radio=Radio() if options.radio is None else Radio.parse(options.radio), users=options.users,
        sites=options.sites, power=options.power, indoor=options.indoor,
        ray_tracing=OVER_ROOFS if planned else RayTracing(),
    )  # fmt: skip
    if options.materials is not None and not (planned and options.measured is not None):
        raise InputError("--materials: walls are calibrated on the log of a drive test; give --sites and --measured")
    if options.clock is not None and not (planned and options.clock in CLOCKS):
        raise InputError(
            f"--clock {options.clock}: give {' or '.join(CLOCKS)}, with --sites; --radio says it with --bs"
        )
    if options.model == "none" and not planned:
        raise InputError("--model none: --bs asks a model; give one, or a file of --sites")
    if planned and (options.radio is not None or options.power != POWER):
        raise InputError("--radio, --power: the file of --sites says carrier, panel and power; leave them out")
    terms = Terms(
        named("--columns", options.columns), named("--cells", options.cells), options.transmit_power,
        options.first_beam, parse_axes(options.axes),
    )  # fmt: skip
    planning = Planning(
        options.load, walls=options.walls, hole=options.hole, cell=options.cell, rays=options.rays
    )  # fmt: skip
    request = Request(
        survey, None if options.model == "none" else options.model, options.measured, options.trace,
        (0 if planned else 20) if options.epochs is None else options.epochs, options.seeds, options.training, terms,
        planning, None if options.export is None else Path(options.export),
        None if options.materials is None else tuple(name.strip() for name in options.materials.split(",")),
        options.clock or "absolute", _learning(options) if planned else (), options.explained,
    )  # fmt: skip
    site = make(request, Path(options.out))
    return _say_plan(site, request) if planned else _say_site(site, request)


def _learning(options: Any) -> tuple[str, ...]:
    """The options of learning that were given."""
    given = {
        "--epochs": options.epochs is not None,
        "--seeds": options.seeds != 1,
        "--clock": options.clock is not None,
    }
    plain = HeadTraining()
    given |= {f"--training.{name}": value != getattr(plain, name) for name, value in vars(options.training).items()}
    return tuple(name for name, there in given.items() if there)


def _say_plan(site: Site, request: Request) -> dict[str, Any]:
    """Prints the coverage of a file of sites."""
    from uniair.site.drive_summary import table
    from uniair.site.planning import drive_lines, remarks
    from uniair.site.site import REPORT

    coverage, drive = site.about["coverage"], site.about.get("drive_test")
    print("\n".join([*remarks(site), *lines(coverage, request.planning)]))
    for one in coverage["sectors"]:
        median = "" if one["median_rsrp_dbm"] is None else f", median RSRP {one['median_rsrp_dbm']:.1f} dBm"
        print(f"{one['sector']}: reaches {one['reached']:,}, best server of {one['best_server']:,}{median}")
    if drive is not None:
        print("\n".join(f"drive test: {line}" for line in drive_lines(drive, request.planning)))
        print(table(drive).text())
    _say_answers(site)
    print(f"{site.folder / REPORT} written; {site.about['seconds']:.0f} s in all{_exported(request)}")
    reading = site.area.reading
    return {"out": str(site.folder), "report": str(site.folder / REPORT), "seconds": site.about["seconds"],
            "remarks": remarks(site),
            "stations": [station.name for station in site.stations], "links": site.about["links"],
            "users": site.about["users"], "coverage": coverage, "drive_test": drive,
            "model": site.about["model"], "figures": site.figures,
            "export": None if request.export is None else str(request.export),
            "reading": None if reading is None else reading.as_dict()}  # fmt: skip


def _say_answers(site: Site) -> None:
    """Prints what a model answers about a plan, where one was asked."""
    from uniair.site.plan_answers import lines as verdicts
    from uniair.site.several_sectors import table
    from uniair.site.site_tables import head_table

    if (found := site.about["model"]) is None:
        return
    print("\n".join(f"{site.model}: {line}" for line in verdicts(found)))
    if found["positions"] is not None:
        print(table(found["positions"]).text())
    print(head_table(site).text())


def _exported(request: Request) -> str:
    return "" if request.export is None else f"; {request.export} holds the files for a GIS"


def _say_site(site: Site, request: Request) -> dict[str, Any]:
    """Prints what the heads reach."""
    from uniair.site.site_tables import head_table

    out = site.folder
    print("\n".join([f"radio: {site.radio}", *site.about.get("remarks", ())]))
    reading = site.area.reading
    for line in reading.lines() if reading else ():
        print(f"map: {line}")
    if users := site.about.get("users"):
        missed = {f"no path from {name}": users["count"] - count for name, count in site.about["links"].items()}
        said = "".join(f"; {count:,} {reason}" for reason, count in (users["left_out"] | missed).items() if count)
        print(f"users: {users['count']:,}{'' if users['file'] is None else ' of ' + users['file']}{said}")
    coverage = site.about.get("coverage")
    if coverage:
        power = f"at {request.survey.power:g} dBm a station (--power): "
        print("\n".join(f"coverage {power}{line}" for line in lines(coverage, request.planning)))
    print(head_table(site).text())
    print(f"{out / 'report.html'} written; {site.about['seconds']:.0f} s in all{_exported(request)}")
    return {"out": str(out), "report": str(out / "report.html"), "seconds": site.about["seconds"],
            "radio": site.radio.to_json(), "remarks": site.about.get("remarks", []),
            "within": site.about.get("within", {}),
            "stations": [station.name for station in site.stations], "links": site.about["links"],
            "measured": site.about["measured"], "users": site.about.get("users"), "figures": site.figures,
            "coverage": coverage, "reading": None if reading is None else reading.as_dict()}  # fmt: skip


def named(option: str, given: list[str] | None) -> dict[str, str]:
    """`A=B` as {A: B}; several may be in one, with commas between.

    Raises:
        InputError: no `=`, or the same name twice.
    """
    found: dict[str, str] = {}
    for text in given or ():
        for part in re.split(r",(?=[^,=]+=)", text):
            name, sign, value = (piece.strip() for piece in part.partition("="))
            if not (name and sign and value) or name in found:
                form = "rsrp=SS-RSRP" if option == "--columns" else "301=bs0"
                raise InputError(f"{option} {text}: not {form}, each name once")
            found[name] = value
    return found
