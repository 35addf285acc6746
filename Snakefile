"""Vidloom: from raw videos and captions to retrieval, captions and a report."""

from snakemake.settings.types import DeploymentMethod
from snakemake.utils import min_version

min_version("9.27")


# `--configfile FILE` takes the place of the demo's configuration: files are whole, never merged.
if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


# Made from envs/Containerfile (docs/cluster.md).
if DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method:

    container: f"{workflow.basedir}/envs/vidloom.sif"


include: "rules/common.smk"
include: "rules/config.smk"


if CONFIG.corpus.is_imported:

    # Instead of videos there are features, which were extracted elsewhere.
    include: "rules/import.smk"

else:

    include: "rules/corpus.smk"
    include: "rules/frames.smk"
    include: "rules/clip.smk"
    include: "rules/features.smk"


include: "rules/retrieval.smk"
include: "rules/captioner.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        f"{RESULTS}/report/index.html",
        f"{RESULTS}/metrics.json",
        all_features(),
        all_captions(),
        encoder_sections(),
        search_index(),
