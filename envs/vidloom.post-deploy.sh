#!/usr/bin/env bash
# Snakemake runs this inside the new conda environment, in the folder that snakemake was called from.
set -euo pipefail
lock=envs/requirements.lock
pip install --quiet "$(grep -o '^uv==[0-9.]*' "$lock")"
uv pip sync --python "$CONDA_PREFIX/bin/python" "$lock"
