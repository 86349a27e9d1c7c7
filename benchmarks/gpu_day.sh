#!/usr/bin/env bash
# Everything that waits for a GPU, in the order of its worth, within half an hour on one card of 80 GB.
#
#   benchmarks/gpu_day.sh                 begin, or go on where it was stopped
#   benchmarks/gpu_day.sh --minutes 9     stop in time for a machine that is lent by the ten minutes; type it again
#   benchmarks/gpu_day.sh --toy           without a GPU: the same with toy sizes, to see that it works
#
# It needs torch, Lightning, timm, pandas, pyarrow, scikit-learn, safetensors and opencv-python-headless, and names first
# what else a part of it wants. Where the machine has no network, carry the wheels in build/wheels:
#   pip download --only-binary=:all: --no-deps -d build/wheels faiss-cpu numba llvmlite pytest ...
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
if compgen -G "build/wheels/*.whl" >/dev/null; then
    "${PYTHON:-python3}" -m pip install --quiet --no-index --no-deps build/wheels/*.whl
fi
exec "${PYTHON:-python3}" benchmarks/gpu_day.py "$@"
