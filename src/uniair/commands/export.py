"""Write a site's models as ONNX, with a runner that needs NumPy and ONNX Runtime alone.

SITE is a folder that uniair site made; without it the models go out with neither stations nor heads. Every answer is
compared with torch's before the folder appears, and card.json in it says how far they are apart. It takes CSI of the
site's radio, or without a site of the one that --radio gives: a file with its JSON, or the JSON itself.

--feedback FILE writes the two ends of CSI feedback instead, apart: the folder ue has the encoder and packs bits, the
folder base_station has the decoder and unpacks them. FILE is a code that uniair adapt --task feedback made, whose radio
they take.

Example:
  uniair export runs/site --to runs/edge
  uniair export --model small --to runs/edge
  uniair export --feedback runs/site/heads/feedback-channel-bs0.safetensors --to runs/halves
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.edge.export import Package
from uniair.edge.feedback_halves import FeedbackPackage
from uniair.errors import InputError
from uniair.radio import Radio
from uniair.site.site import Site
from uniair.training.feedback_adaptation import load_feedback
from uniair.training.forecasting import load_forecaster


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("site", type=str, nargs="?", default=None, help="folder that uniair site made")
    parser.add_argument("--to", type=str, default=None, help="folder for the package; an older package is replaced")
    parser.add_argument("--model", type=str | None, default=None,
                        help="without a site: packaged model or checkpoint folder, small by default")  # fmt: skip
    parser.add_argument(
        "--radio", type=str | None, default=None, help="without a site: whose CSI it takes, file or JSON"
    )
    parser.add_argument("--forecaster", type=str | None, default=None, help="folder of uniair forecast train")
    parser.add_argument("--feedback", type=str | None, default=None, help="code of uniair adapt --task feedback")
    parser.add_argument("--int8", action="store_true", help="weights in 8 bits too: uniair bench edge has their cost")


def run(options: Any) -> dict[str, Any]:
    """Exports, compares and prints what was written."""
    if options.to is None:
        raise InputError("give --to, a folder for the package")
    if options.site is not None and options.model is not None:
        raise InputError("a site has its own model: give SITE or --model, not both")
    if options.site is not None and options.radio is not None:
        raise InputError("a site has its own radio: give SITE or --radio, not both")
    if options.feedback is not None:
        return _halves(options)
    forecaster = None if options.forecaster is None else load_forecaster(Path(options.forecaster))
    if options.site is not None:
        package = Package.of(Site.read(options.site), forecaster, options.int8)
    else:
        name = options.model or "small"
        radio = None if options.radio is None else Radio.parse(options.radio)
        package = Package(uniair.load(name), name, None, forecaster, options.int8, radio)
    card = package.write(Path(options.to))
    for name, size in card["megabytes"].items():
        print(f"{name:22}{size:8.2f} MB")
    print("\n".join([f"radio: {card['radio_text']}", *card["remarks"]]))
    print(f"{len(card['heads'])} heads of {len(card['stations'])} stations")
    largest = card["parity"]["largest"]
    print(f"largest difference from torch on {card['parity']['links']} links: {max(largest.values()):.1e} "
          f"({max(largest, key=largest.__getitem__)})")  # fmt: skip
    print(f"{options.to}: copy it to the device; there: from uniair_edge import Runner; Runner('.')")
    return {"to": options.to, **card}


def _halves(options: Any) -> dict[str, Any]:
    """A feedback code's two ends."""
    if options.site is not None or options.radio is not None or options.forecaster is not None:
        raise InputError("--feedback: the two ends have the radio of their code; leave SITE, --radio, --forecaster out")
    name = options.model or "small"
    code = load_feedback(Path(options.feedback), uniair.load(name))
    card = FeedbackPackage(code, name, options.int8).write(Path(options.to))
    for half, sizes in card["megabytes"].items():
        print("\n".join(f"{half + '/' + file:32}{size:8.2f} MB" for file, size in sizes.items()))
        # in 8 bits a network takes the place of the whole one
        print(f"{half:32}{sum(size for file, size in sizes.items() if not file.startswith('int8')):8.2f} MB in all")
    print("\n".join([f"radio: {card['radio_text']}", *card["remarks"]]))
    parity = card["parity"]
    print(f"{parity['strings']} bit strings are the library's, {parity['asked_again']} of them at a second try where "
          f"words were as near; largest difference of the restored CSI: {parity['largest']['csi']:.1e}")  # fmt: skip
    print(f"{options.to}: copy ue to users, base_station to base stations; there: from uniair_edge import "
          "FeedbackRunner; FeedbackRunner('.')")  # fmt: skip
    return {"to": options.to, **card}
