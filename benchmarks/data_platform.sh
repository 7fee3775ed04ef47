#!/usr/bin/env bash
# The data platform's three speeds: CSI synthesis beside deepmimo 4.0.5, a training step's wait for its batch, and a
# million links opened and read. And whether our CSI equals deepmimo's.
#
#     benchmarks/data_platform.sh SCENARIOS [LINKS]
#
# SCENARIOS is a folder of DeepMIMO scenarios; LINKS a folder of links, the packaged sample unless given. PYTHON is the
# interpreter with uniair.
set -euo pipefail

scenarios=$(realpath "${1:?give a folder of DeepMIMO scenarios}")
links=${2:+$(realpath "$2")}
cd "$(dirname "$0")/.."
benchmarks/deepmimo_peer.sh "$scenarios"
"${PYTHON:-.venv/bin/python}" -m uniair.cli bench loading ${links:+"--train=$links"} --json
