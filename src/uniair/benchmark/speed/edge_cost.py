"""What leaving torch costs and brings: accuracy of each task in 8 bits, and latencies, in torch, ONNX and int8."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from uniair import load, metrics
from uniair.benchmark.speed.training_speed import matrix_rate
from uniair.data.drives.windows import cut, frames, read_folder
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.data.links.store import SAMPLE as LINKS
from uniair.data.links.store import Store
from uniair.edge.export import Package, seeded_steps, write_forecaster
from uniair.edge.graphs import ForecastGraph
from uniair.edge.quantisation import quantise
from uniair.edge.runner import STATE, Runner, View
from uniair.environment import Batch
from uniair.evaluation.tables import Table
from uniair.files import write_text
from uniair.models.forecast import SIZES, WMLM, Forecast, ForecastPreset
from uniair.models.presets import preset
from uniair.models.universal import UniversalModel
from uniair.tasks.beam_forecast import figures, forecasts
from uniair.tasks.registry import TASKS
from uniair.tasks.zero_shot import los as zero_shot_los
from uniair.training.forecasting import PACKAGED, SAMPLE, load_forecaster, tensors
from uniair.training.heads import Adaptation, HeadTraining, divide, embed, fit, measure

FORMS = ("torch", "ONNX", "int8")
MODELS = ("cfenn", "epnn", "crnn")
BATCHES = (1, 64)
TOKENS, WIDTH, LAYERS = 129, 64, 12  # of an open channel foundation model of 0.6 M parameters


def accuracy(
    model: UniversalModel, store: Store, areas: int = 6, links: int = 2000, training: HeadTraining = HeadTraining()
) -> dict[str, Any]:
    """Figures of every task from embeddings of each form: task → form → figure → mean over areas.

    A head is trained on torch's embeddings and tested on those of each form, on the links that it did not learn from.

    Args:
        store: links of one base station per area, in the first `areas` of it; `links` of each are drawn, seeded.
    """
    rows: dict[str, dict[str, list[dict[str, float]]]] = {}
    with TemporaryDirectory() as folder:
        Package(model, model.preset.name, int8=True).write(Path(folder) / "edge")
        runners = {"ONNX": Runner(Path(folder) / "edge"), "int8": Runner(Path(folder) / "edge", int8=MODELS)}
        for number in range(min(areas, len(store))):
            one = store[number]
            one = one.select(np.flatnonzero((one.bs == one.bs[0]).all(1)))
            drawn = np.random.default_rng(number).permutation(len(one))[:links]
            for task, forms in _figures(model, one.select(np.sort(drawn)), runners, training).items():
                for form, found in forms.items():
                    rows.setdefault(task, {}).setdefault(form, []).append(found)
    return {
        task: {
            form: {name: float(np.mean([f[name] for f in found])) for name in found[0]} for form, found in forms.items()
        }
        for task, forms in rows.items()
    }


def _figures(
    model: UniversalModel, links: Links, runners: Mapping[str, Runner], training: HeadTraining
) -> dict[str, dict[str, dict[str, float]]]:
    batch = batch_of(links)
    env = batch.environment
    view = View(env.map[0].numpy(), env.bs[0].numpy(), float(env.size[0]))
    csi, ue = batch.csi.numpy(), env.ue.numpy()
    channel = {"torch": embed(model, batch, "channel")}
    place = {"torch": embed(model, batch, "environment")}
    for form, runner in runners.items():
        channel[form] = torch.from_numpy(runner.encode(csi))
        place[form] = torch.from_numpy(runner.embed(view, len(ue), ue))
    out: dict[str, dict[str, dict[str, float]]] = {}
    for name, task in TASKS.items():
        for inputs in task.inputs:
            learn, test = divide(links, Adaptation(task=name, inputs=inputs, split="blocks"))
            z, target = channel if inputs == "channel" else place, task.target(batch)
            if not task.regression and target.ndim == 1 and len(torch.unique(target[learn])) < 2:
                continue
            head = fit(task, z["torch"][learn], target[learn], training)
            tested = batch_of(links.select(test))
            out[f"{name} from {inputs}"] = {form: measure(task, head, z[form][test], tested) for form in FORMS}
    out["zero-shot LOS"] = _zero_shot(model, batch, view, runners)
    restored = {"torch": model.reconstruct_channel(channel["torch"])}
    restored |= {form: torch.from_numpy(r.reconstruct(channel[form].numpy())) for form, r in runners.items()}
    seen = model.normalise_channel(batch.csi)
    out["CSI feedback"] = {form: {"nmse_db": float(metrics.nmse_db(restored[form], seen))} for form in FORMS}
    return out


def _zero_shot(
    model: UniversalModel, batch: Batch, view: View, runners: Mapping[str, Runner]
) -> dict[str, dict[str, float]]:
    truth, ue = batch.environment.los.bool().numpy(), batch.environment.ue.numpy()
    said: dict[str, NDArray[Any]] = {"torch": zero_shot_los(model, batch.csi, batch.environment).numpy()}
    said |= {form: runner.los(batch.csi.numpy(), view, ue) for form, runner in runners.items()}
    return {form: {"accuracy": float(((p > 0.5) == truth).mean())} for form, p in said.items()}


def latency(model: UniversalModel, links: Links, repeats: int = 30) -> dict[str, Any]:
    """Milliseconds of a batch: model → batch → form → `median`, `least` and `cpu`, see `timed`.

    Args:
        links: of one base station; EPNN's time includes what the rays of a station that is known find for each user.
    """
    links = links.select(np.arange(len(links))[(links.bs == links.bs[0]).all(1)])
    batch = batch_of(links)
    with TemporaryDirectory() as folder:
        Package(model, model.preset.name, int8=True).write(Path(folder) / "edge")
        threads = torch.get_num_threads()
        forms = {"ONNX": Runner(Path(folder) / "edge", threads=threads),
                 "int8": Runner(Path(folder) / "edge", MODELS, threads)}  # fmt: skip
        found: dict[str, Any] = {}
        for size in BATCHES:
            which = np.resize(np.arange(len(links)), size)
            some = batch.select(which)
            csi, env = some.csi, some.environment
            view = View(env.map[0].numpy(), env.bs[0].numpy(), float(env.size[0]))
            z = model.encode_channel(csi)
            work: dict[str, dict[str, Callable[[], Any]]] = {
                "cfenn": {"torch": partial(model.encode_channel, csi)},
                "epnn": {"torch": partial(model.encode_environment, env.without("los"))},
                "crnn": {"torch": partial(model.reconstruct_channel, z)},
            }
            for form, runner in forms.items():
                work["cfenn"][form] = partial(runner.encode, csi.numpy())
                work["epnn"][form] = partial(runner.embed, view, size, env.ue.numpy())
                work["crnn"][form] = partial(runner.reconstruct, z.numpy())
            for name, calls in work.items():
                found.setdefault(name, {})[str(size)] = timed(calls, repeats)
    return found


def forecast_latency(preset: ForecastPreset, repeats: int = 60, model: WMLM | None = None) -> dict[str, Any]:
    """Milliseconds of a streaming step at batch 1 with a full cache: form → `median`, `least`, `cpu`; parameters.

    Args:
        preset: random weights of this shape, which cost what trained ones do.
        model: its own weights instead.
    """
    if model is None:
        torch.manual_seed(0)
        model = WMLM(preset).eval()
        for parameter in model.parameters():  # zeros, as blocks begin, might be quicker
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
    steps = seeded_steps(model, 2 * model.preset.context)
    last = {name: values[:, -1:] for name, values in steps.items()}
    with TemporaryDirectory() as folder, torch.inference_mode():
        paths = {"ONNX": Path(folder) / "forecaster.onnx", "int8": Path(folder) / "int8.onnx"}
        write_forecaster(model, paths["ONNX"])
        quantise(paths["ONNX"], paths["int8"])
        size = {form: round(path.stat().st_size / 1e6, 2) for form, path in paths.items()}
        sessions = {form: _session(path) for form, path in paths.items()}
        start = ForecastGraph(model).start()
        feed = {name: values.numpy() for name, values in (start | steps).items()}
        state = model.advance(steps, None)[1]
        work: dict[str, Callable[[], Any]] = {"torch": partial(model.advance, last, state)}
        for form, session in sessions.items():
            names = [put.name for put in session.get_inputs()]
            said = session.run(None, {name: feed[name] for name in names})
            full = dict(zip(STATE, said[3:], strict=True)) | {name: values.numpy() for name, values in last.items()}
            one = {name: full[name] for name in names}
            work[form] = partial(session.run, None, one)
        took = timed(work, repeats)
    return {"parameters": model.parameter_counts()["total"], "megabytes": size, "ms": took}


def forecast_accuracy(model: WMLM, steps: Mapping[str, Tensor], past: int) -> dict[str, Any]:
    """Figures of each form on the same windows: form → horizon → figure.

    Args:
        steps: [N, past + F, ...] of what was measured.
    """
    observed = {name: values[:, :past] for name, values in steps.items()}
    found = {"torch": figures(forecasts(model, steps, past), steps, past)}
    with TemporaryDirectory() as folder:
        paths = {"ONNX": Path(folder) / "forecaster.onnx", "int8": Path(folder) / "int8.onnx"}
        write_forecaster(model, paths["ONNX"])
        quantise(paths["ONNX"], paths["int8"])
        feed = ForecastGraph(model).start(len(observed["beam"])) | observed
        for form, path in paths.items():
            session = _session(path)
            out = session.run(None, {put.name: feed[put.name].numpy() for put in session.get_inputs()})
            said = Forecast(*(torch.from_numpy(values[:, -1]) for values in out[:3]))
            found[form] = figures(said, steps, past)
    return found


def packaged_forecasts() -> dict[str, dict[str, dict[str, float]]]:
    """The packaged forecaster on the packaged drives, which it did not learn from: horizon → form → figures."""
    model, drives = load_forecaster(PACKAGED), read_folder(SAMPLE)
    windows = cut(drives, model.preset.past, model.preset.future, None, frames(drives))
    found = forecast_accuracy(model, tensors(windows.steps()), model.preset.past)
    return {f"beam of step {horizon}": {form: found[form][horizon] for form in FORMS} for horizon in found["torch"]}


def throughput(model: UniversalModel, batch: int = 64, repeats: int = 20) -> dict[str, Any]:
    """CSI per second of `cfenn` in torch and ONNX beside a transformer of 0.6 M parameters on 129 tokens, in turns."""
    draw = torch.Generator().manual_seed(0)
    shape = (batch, *model.radio.shape)
    csi = torch.randn(shape, dtype=torch.complex64, generator=draw)
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, 8, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
    other = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False).eval()
    tokens = torch.randn(batch, TOKENS, WIDTH, generator=draw)
    with TemporaryDirectory() as folder, torch.inference_mode():
        Package(model, model.preset.name, int8=True).write(Path(folder) / "edge")
        forms = {"ONNX": Runner(Path(folder) / "edge", threads=torch.get_num_threads()),
                 "int8": Runner(Path(folder) / "edge", MODELS, torch.get_num_threads())}  # fmt: skip
        work: dict[str, Callable[[], Any]] = {"transformer": partial(other, tokens)}
        work["torch"] = partial(model.encode_channel, csi)
        work |= {form: partial(runner.encode, csi.numpy()) for form, runner in forms.items()}
        took = timed(work, repeats)
    rate = {form: 1e3 * batch / ms["median"] for form, ms in took.items()}
    return {
        "batch": batch, "parameters": sum(p.numel() for p in other.parameters()), "ms": took, "per_s": rate,
        "times": {form: rate[form] / rate["transformer"] for form in rate},
    }  # fmt: skip


def encoding(model: UniversalModel, batch: int = 64, repeats: int = 5) -> dict[str, Any]:
    """CSI per second that `encode_channel` and its ONNX form embed, `cfenn`'s matrix products, and their share of the
    machine's matrix rate: that of one large product in torch, which ONNX's own products may exceed.
    """
    draw = torch.Generator().manual_seed(0)
    shape = (batch, *model.radio.shape)
    csi = torch.randn(shape, dtype=torch.complex64, generator=draw)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.channel_embedding(model.see(csi, model.radio))
    with TemporaryDirectory() as folder:
        Package(model, model.preset.name, int8=False).write(Path(folder) / "edge")
        runner = Runner(Path(folder) / "edge", threads=torch.get_num_threads())
        took = timed({
            "torch": partial(model.encode_channel, csi), "ONNX": partial(runner.encode, csi.numpy()),
        }, repeats)  # fmt: skip
    flops, rate = counter.get_total_flops() / batch, matrix_rate(torch.device("cpu"), torch.float32)
    per_s = {form: 1e3 * batch / ms["median"] for form, ms in took.items()}
    return {"per_s": per_s, "flops": flops, "matrix_rate": rate,
            "share": {form: flops * rates / rate for form, rates in per_s.items()}}  # fmt: skip


def timed(work: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each call: `median` and `least` by the clock, and `cpu`, the median of the thread's own time.

    The calls take turns, so that what else the machine does falls on all of them; with one thread, `cpu` leaves it out.
    """
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for turn in range(repeats + 2):
        for name, call in work.items():
            began, used = time.perf_counter(), time.thread_time()
            call()
            if turn > 1:
                took[name].append((time.perf_counter() - began, time.thread_time() - used))
    out = {}
    for name, pairs in took.items():
        wall, cpu = 1e3 * np.array(pairs).T
        out[name] = {"median": float(np.median(wall)), "least": float(wall.min()), "cpu": float(np.median(cpu))}
    return out


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def edge_cost(model: UniversalModel, store: Store, areas: int) -> dict[str, Any]:
    """The parts: `accuracy`, `latency_ms`, `forecast` and `encoding` by size, `throughput`, and how many threads."""
    return {
        "threads": torch.get_num_threads(),
        "accuracy": accuracy(model, store, areas) | packaged_forecasts(),
        "latency_ms": latency(model, store[0]),
        "forecast": {size: forecast_latency(ForecastPreset(width=SIZES[size])) for size in ("2m", "20m")},
        "throughput": throughput(model),
        "encoding": {size: encoding(UniversalModel(preset(size)).eval()) for size in ("small", "base")},
    }


def tables(result: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """A heading and a table for each part."""
    threads = f"{result['threads']} threads" if result["threads"] > 1 else "1 thread"
    rows = []
    for task, forms in result["accuracy"].items():
        name = next(iter(forms["torch"]))
        rows.append([f"{task}, {name}", *(f"{forms[form][name]:.4f}" for form in FORMS)])
    out = [("Accuracy", Table(["task", *FORMS], rows))]
    header = ["model", "batch", *(f"{form} {kind}" for form in FORMS for kind in ("median", "least", "cpu"))]

    def cells(ms: Mapping[str, Mapping[str, float]]) -> list[str]:
        return [f"{value:.2f}" for form in FORMS for value in ms[form].values()]

    rows = [[name, size, *cells(ms)] for name, sizes in result["latency_ms"].items() for size, ms in sizes.items()]
    rows += [[f"WMLM {size}, per step", "1", *cells(found["ms"])] for size, found in result["forecast"].items()]
    out.append((f"Latency, ms, {threads}", Table(header, rows)))
    speed = result["throughput"]
    rows = [[form, f"{rate:,.0f}", f"{speed['times'][form]:.1f}"] for form, rate in speed["per_s"].items()]
    heading = (
        f"Embeddings per second at batch {speed['batch']}, beside {speed['parameters']:,} parameters on {TOKENS} tokens"
    )
    out.append((heading, Table(["", "CSI/s", "times"], rows)))
    rows = [
        [f"{size}, {form}", f"{one['per_s'][form]:,.0f}", f"{one['flops'] / 1e6:,.0f}", f"{100 * share:.0f} %"]
        for size, one in result["encoding"].items() for form, share in one["share"].items()
    ]  # fmt: skip
    rate = next(iter(result["encoding"].values()))["matrix_rate"] / 1e9
    heading = f"Embeddings per second, and the share of torch's matrix rate, {rate:.0f} GFLOP/s"
    out.append((heading, Table(["", "CSI/s", "MFLOP per CSI", "share"], rows)))
    return out


def faster(result: Mapping[str, Any]) -> list[str]:
    """Where 8 bits win over ONNX in single precision, by the thread's own time; one line each model and batch."""
    lines = []
    cases: dict[str, Mapping[str, Mapping[str, float]]] = {
        f"{name} at batch {size}": ms for name, sizes in result["latency_ms"].items() for size, ms in sizes.items()
    } | {f"WMLM {size}": found["ms"] for size, found in result["forecast"].items()}
    for name, ms in cases.items():
        gain = ms["ONNX"]["cpu"] / ms["int8"]["cpu"]
        lines.append(f"int8 {'wins' if gain > 1.05 else 'does not win'} on {name}: {gain:.2f} times as fast as ONNX")
    return lines


def run(model: str = "small", dense: Path | None = None, areas: int = 6, out: str = "runs/bench") -> dict[str, Any]:
    """Measures, prints and writes `edge/result.json`.

    Args:
        model: packaged model or checkpoint folder.
        dense: links folder of dense areas; the packaged links if not given.
        areas: how many.
        out: folder for the runs.
    """
    found = edge_cost(load(model), Store(dense or LINKS), areas)
    for heading, table in tables(found):
        print(f"\n{heading}\n{table.text()}")
    print("\n" + "\n".join(faster(found)))
    write_text(Path(out) / "edge" / "result.json", json.dumps(found, indent=1) + "\n")
    return found
