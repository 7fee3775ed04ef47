"""Weights in 8 bits, activations quantised as they come: ONNX Runtime's dynamic quantisation."""

from __future__ import annotations

import logging
from pathlib import Path


def quantise(source: Path, target: Path) -> None:
    """Writes a model whose matrix products are in integers, with a scale for each column of the weights.

    Activations get one scale a product, from the batch that they are in; all but products with weights stays as it is.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target.parent.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.WARNING)  # it advises shape inference, which dynamic quantisation does not use
    try:
        quantize_dynamic(
            source, target, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8
        )
    finally:
        logging.disable(logging.NOTSET)
