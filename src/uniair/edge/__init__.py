"""Models as ONNX with a runner that needs NumPy and ONNX Runtime alone, for machines without torch."""
