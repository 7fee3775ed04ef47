"""Weights in 8 bits, activations quantised as they come: ONNX Runtime's dynamic quantisation, a scale for each row.

ONNX Runtime gives all of a batch one scale, so that a sample's answer would hang on which others are asked with it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LEVELS, MIDDLE = 127, 128  # steps on either side of zero, and the byte that stands for it
SMALLEST = 1e-30  # of a row's largest magnitude, so that a row of zeros stays one


def quantise(source: Path, target: Path) -> None:
    """Writes a model whose matrix products are in integers, with a scale for each column of the weights.

    Activations get one scale a row of each product, whatever rows are beside it; all but products with weights stays as
    it is.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target.parent.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.WARNING)  # it advises shape inference, which dynamic quantisation does not use
    try:
        quantize_dynamic(
            source, target, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8
        )
    finally:
        logging.disable(logging.NOTSET)
    shapes = onnx.shape_inference.infer_shapes(onnx.load(source)).graph
    known = (*shapes.input, *shapes.value_info)
    model = onnx.load(target)
    by_row(model, {value.name: len(value.type.tensor_type.shape.dim) for value in known})
    onnx.save(model, target)


def by_row(model: Any, ranks: Mapping[str, int]) -> None:
    """Gives each row of an activation a scale of its own, in place, where ONNX Runtime's quantiser gives all one.

    Args:
        ranks: axes of each activation, as far as they are known.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    nodes: list[Any] = []
    numbers = {"uniair_smallest": SMALLEST, "uniair_step": 1 / LEVELS, "uniair_middle": float(MIDDLE)}
    graph.initializer.extend(helper.make_tensor(n, TensorProto.FLOAT, [], [value]) for n, value in numbers.items())
    scales = {node.output[1] for node in graph.node if node.op_type == "DynamicQuantizeLinear"}
    both: dict[str, tuple[str, str]] = {}  # product of a row's and the columns' scale → these
    for node in graph.node:
        if node.op_type == "Mul" and (mine := [name for name in node.input if name in scales]):
            both[node.output[0]] = mine[0], next(name for name in node.input if name not in scales)
            continue
        if node.op_type == "Mul" and (mine := [name for name in node.input if name in both]):
            # one after the other: ONNX Runtime would take the product for that of a scale a batch, and fuse it
            whole = next(name for name in node.input if name not in both)
            row, columns = both[mine[0]]
            nodes.append(helper.make_node("Mul", [whole, row], [f"{node.output[0]}_rows"]))
            nodes.append(helper.make_node("Mul", [f"{node.output[0]}_rows", columns], list(node.output)))
            continue
        if node.op_type != "DynamicQuantizeLinear":
            nodes.append(node)
            continue
        (given,), (whole, scale, zero) = node.input, node.output
        # counted from the front: from the back, ONNX Runtime 1.31 leaves no rows at all as they are
        last = ranks.get(given, 0) - 1
        graph.initializer.append(helper.make_tensor(zero, TensorProto.UINT8, [], [MIDDLE]))
        for kind, inputs, output, attributes in (
            ("Abs", [given], f"{scale}_size", {}),
            ("ReduceMax", [f"{scale}_size"], f"{scale}_peak", {"keepdims": 1, "axes": [last]}),
            ("Max", [f"{scale}_peak", "uniair_smallest"], f"{scale}_safe", {}),
            ("Mul", [f"{scale}_safe", "uniair_step"], scale, {}),
            ("Div", [given, scale], f"{whole}_ratio", {}),
            ("Round", [f"{whole}_ratio"], f"{whole}_steps", {}),
            ("Add", [f"{whole}_steps", "uniair_middle"], f"{whole}_byte", {}),
            ("Cast", [f"{whole}_byte"], whole, {"to": TensorProto.UINT8}),
        ):
            nodes.append(helper.make_node(kind, inputs, [output], **attributes))
    del graph.node[:]
    graph.node.extend(nodes)
