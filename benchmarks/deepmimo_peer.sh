#!/usr/bin/env bash
# Compares our CSI, and how fast it comes, with deepmimo 4.0.5 on the same scenarios.
#
#     benchmarks/deepmimo_peer.sh SCENARIOS [PEER_VENV]
#
# SCENARIOS is a folder of DeepMIMO scenarios, v3 or v4. deepmimo needs NumPy < 2.3, so it lives in an environment of its
# own, .venv-peer here unless told otherwise, and is no dependency of ours. PYTHON is the interpreter with uniair.
# Where other programs run, give both one thread (OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1): with more, ours can stall.
set -euo pipefail

scenarios=$(realpath "${1:?give a folder of DeepMIMO scenarios}")
cd "$(dirname "$0")/.."
venv=$(realpath -m "${2:-.venv-peer}")
python=$(realpath -s "${PYTHON:-.venv/bin/python}")
channels=$(mktemp -d)
trap 'rm -rf "$channels"' EXIT

if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet 'numpy<2.3' scipy 'deepmimo==4.0.5'
fi
# the speed first, one straight after the other: the channels fill the disk cache
"$venv/bin/python" benchmarks/deepmimo_peer.py "$channels"
"$python" benchmarks/compare_deepmimo.py "$channels"
"$venv/bin/python" benchmarks/deepmimo_peer.py "$channels" "$scenarios"
"$python" benchmarks/compare_deepmimo.py "$channels" "$scenarios"
