"""The command line: finds the command, reads its arguments, and turns errors into one line."""

from __future__ import annotations

import errno
import json
import os
import sys
import warnings
from contextlib import ExitStack
from importlib import import_module
from typing import Any

from uniair.errors import InputError
from uniair.folder_lock import alone_in
from uniair.memory import keep_large_pages

# before torch comes: threads that spin while they wait for each other take the processor from whatever else runs
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

COMMANDS = {
    "demo": "run every zero-shot task on unseen areas with the packaged model, and write a report",
    "doctor": "say what is installed, what is missing and the command that mends it",
    "areas": "list and draw the areas in building footprints, OpenStreetMap extracts or generated towns",
    "trace": "ray-trace links in areas: a campaign that can be stopped and resumed",
    "import": "bring WAIR-D, DeepMIMO, DeepSense 6G or your own Sionna RT scene into the same form",
    "twin": "make a digital twin of DeepSense 6G: drives, beams, GPS and pictures by ray tracing",
    "data": "check a data set and write its data card with pictures, or write its CSI for other models",
    "pretrain": "train the universal model on traced links",
    "harden": "fine-tune the model's channel tower against attacks on CSI",
    "adapt": "train a light head of a task on the frozen model, area by area",
    "zeroshot": "measure a model's zero-shot answers on traced links",
    "explain": "say why: which paths and walls are behind an answer, and where channels contradict a map",
    "instruct train": "train AI²MMUM on an area: a language model that answers tasks from instructions",
    "instruct add": "add a modality or a task to a trained AI²MMUM, by adapter, LoRA, prefix and head alone",
    "instruct evaluate": "measure a trained AI²MMUM on links that it did not learn from",
    "instruct ablate": "AI²MMUM against its ablations on the same data, seeds and budget",
    "instruct ask": "ask about a channel or a place in plain English",
    "instruct retrain": "continue a backbone's pretraining on a folder of telecom text",
    "forecast train": "train WMLM, which forecasts beams, on a folder of drives",
    "forecast evaluate": "measure a forecaster on the drives that were held out",
    "forecast adapt": "adapt a forecaster to the drives of a new site",
    "forecast compare": "WMLM beside its baselines, on known sites and on ones left out",
    "forecast stream": "answer step by step along drives, and say how long a step takes",
    "forecast restore": "fill in powers that were lost along drives, or roll them out, marked as made",
    "federate server": "lead sites that learn one head together and keep their data",
    "federate client": "take part in a federation with a site's own links",
    "federate simulate": "rehearse a federation in one process, on the areas of a links folder",
    "site": "take the model to a place of your own: links, zero-shot answers, light heads and a report",
    "serve": "serve a site: an HTTP API and a page, on this machine alone by default",
    "export": "write a site's models as ONNX, with a runner that needs NumPy and ONNX Runtime alone",
    "registry init": "make a registry of models, and the keys that sign it",
    "registry publish": "sign a model, a head or a site, and put it into a registry as its next version",
    "registry rollback": "bring an earlier version back, as a new release of its files",
    "registry refresh": "sign a registry again before its signatures expire",
    "registry serve": "serve a registry to nodes over HTTP",
    "registry trust": "tell this node which registry it trusts, by its root file",
    "registry list": "list the releases of a registry, and which of them are here",
    "registry pull": "bring a release to this node, verified; the earlier ones stay",
    "bench": "make the paper's figures and tables, and measure how fast each part is",
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
SHARED = ("bench", "instruct ablate")  # runs side by side in one --out, each figure in a folder of its own
MODULES = {"import": "importing"}  # a keyword can't name a module
USAGE = "usage: uniair COMMAND [options]      uniair COMMAND --help\n\n" + "\n".join(
    f"  {name:18} {what}" for name, what in COMMANDS.items()
)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 2 for bad input, 130 when stopped from the keyboard."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    if arguments[0] in ("-V", "--version"):
        from uniair import __version__

        print(f"uniair {__version__}")
        return 0
    pair = " ".join(arguments[:2])
    name = pair if pair in COMMANDS else arguments[0]
    if name not in COMMANDS:
        near = [known for known in COMMANDS if known.split()[0] == name] or COMMANDS
        if near is not COMMANDS and arguments[1:2] in (["-h"], ["--help"]):
            print("\n".join(f"uniair {known:18} {COMMANDS[known]}" for known in near))
            return 0
        given = pair if near is not COMMANDS else name
        print(f"uniair: no command {given!r}; choose one of {', '.join(near)}", file=sys.stderr)
        return 2
    try:
        import argparse

        import jsonargparse

        class Help(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
            """Keeps the lines of the description, so that an example stays on one."""

        keep_large_pages()
        command = import_module(f"uniair.commands.{MODULES.get(name, name.replace(' ', '_'))}")
        parser = jsonargparse.ArgumentParser(
            prog=f"uniair {name}", description=command.__doc__, exit_on_error=False,
            formatter_class=Help,
        )  # fmt: skip
        parser.add_argument("--config", action="config", help="YAML file with any of these options (a recipe)")
        parser.add_argument("--json", action="store_true", help="print the result as JSON on the last line")
        words = arguments[len(name.split()) :]
        # the options of a figure or measurement are its own, so they depend on which are named
        command.arguments(parser, *([words] if name == "bench" else []))
        try:
            options = parser.parse_args(words)
        except jsonargparse.ArgumentError as error:
            said = " ".join(str(error).split())
            if said.lower().startswith("unrecognized"):
                said += f"; {parser.prog} takes {', '.join(option_names(parser))}"
            raise InputError(f"{said}; see {parser.prog} --help") from error
        # a line for people, without the place in the code that Python would add
        warnings.formatwarning = lambda message, *_, **__: f"uniair {name}: {message}\n"
        with ExitStack() as held:
            if (out := written_by(name, options)) is not None:
                held.enter_context(alone_in(out))
            result = command.run(parser.instantiate(options))
        if options.json:
            print(json.dumps(result))
    except InputError as error:
        print(f"uniair {name}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(f"uniair {name}: {error.strerror}: {error.filename or 'output'}; free some space or give another --out, "
              "then run the same command again", file=sys.stderr)  # fmt: skip
        return 2
    except KeyboardInterrupt:
        print(f"uniair {name}: stopped; the same command goes on where it can", file=sys.stderr)
        return 130
    return 0


def written_by(name: str, options: Any) -> str | None:
    """The folder or file that a command writes, which no other run may write meanwhile."""
    if name in SHARED:
        return None
    out = options.get("to" if name == "export" else "out")
    return None if out is None else str(out)


def option_names(parser: Any) -> list[str]:
    """The options of a command; of a group such as --training its name alone."""
    strings = [action.option_strings for action in parser._actions if action.option_strings]
    return [found[-1] for found in strings if "." not in found[-1] and found[-1] not in ("--help", "--print_config")]


if __name__ == "__main__":
    raise SystemExit(main())
