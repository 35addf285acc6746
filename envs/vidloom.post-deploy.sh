#!/usr/bin/env bash
# Snakemake runs this inside the new conda environment, in the folder that snakemake was called from: the repository's.
# After a new lock, remove the environment (.snakemake/conda) to have it made anew.
set -euo pipefail
lock=envs/requirements.lock
pip install --quiet "$(grep -o '^uv==[0-9.]*' "$lock")"
uv pip sync --python "$CONDA_PREFIX/bin/python" "$lock"
