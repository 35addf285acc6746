"""What every stage shares: the checked config, paths, wildcards, and the launcher of training."""

import sys
from pathlib import Path

# The package lies beside the Snakefile, from whatever folder Snakemake is called.
sys.path.insert(0, str(workflow.basedir))

from workflow_scripts.lib.config import freeze, parse_config
from workflow_scripts.lib.environment import hold_run_lock, use_this_checkout
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.status.record import record_run

use_this_checkout()

try:
    CONFIG = parse_config(config)
except UserError as error:
    raise WorkflowError(str(error)) from None

# resources/ depends on the data only and is shared by runs; results/ is one experiment.
RESOURCES = f"resources/{CONFIG.corpus.name}"
RESULTS = f"results/{CONFIG.run}"
LOGS = f"logs/{CONFIG.run}"
BENCHMARKS = f"benchmarks-out/{CONFIG.run}"

N_SHARDS = CONFIG.corpus.shards
SHARDS = [f"{shard:03d}" for shard in range(N_SHARDS)]

# One command for any number of GPUs. The count is a resource, set in a profile, so that
# going from one GPU to four does not invalidate a model (resources are no rerun trigger).
LAUNCH = (
    "$([ {resources.gpu} -gt 1 ]"
    " && echo torchrun --standalone --nproc-per-node={resources.gpu}"
    " || echo python)"
)

# Half of the machine, so that the branches of the DAG (retrieval beside the captioner)
# run side by side, and never more than 16; a cluster profile sets its own with set-threads.
HALF = min(16, max(1, (workflow.resource_settings.cores or 2) // 2))


wildcard_constraints:
    # three digits or more, as in the file names that GMMFormer-style readers expect
    shard=r"\d\d\d+",
    # a name from the config, never a path
    encoder=r"[^/]+",
    # features of a model trained in this run belong to the run, those of others to the corpus
    features=f"({RESOURCES}|{RESULTS})/features",
    # the corpus has these three
    split="train|val|test",
    # a section of the config
    section="corpus|frames|clip|retrieval|captioner|report",
    # where frozen sections lie
    place=f"{RESOURCES}|{RESULTS}",


def frozen(section):
    """Path of a frozen config section: with the data it describes, or with the run."""
    place = RESOURCES if section in ("corpus", "frames") else RESULTS
    return f"{place}/config/{section}.yaml"


def folder_of(name):
    """For `params`: the folder of the first input of that name. Hundreds of shards travel as a folder and a count."""

    def folder(wildcards, input):
        files = getattr(input, name)
        return str(Path(files if isinstance(files, str) else files[0]).parent)

    return folder


def feature_root(encoder):
    """Folder of an encoder's features: a model trained in this run belongs to the run."""
    trained = CONFIG.features.encoder(encoder).kind == "trained_clip"
    return f"{RESULTS if trained else RESOURCES}/features/{encoder}"


def feature_index(encoder):
    """The file that says that all shards of an encoder are there."""
    return f"{feature_root(encoder)}/video_manifest.json"


onstart:
    # Takes the place of Snakemake's lock (`nolock` in the profiles), which a kill -9 leaves behind.
    try:
        hold_run_lock(Path(".snakemake/run.lock"))
    except UserError as error:
        raise WorkflowError(str(error)) from None
    # What `python -m workflow_scripts.status` tells of.
    record_run(workflow, CONFIG)
    # Imported here: it is heavy, and this is the one process that needs it.
    from workflow_scripts.lib.frames.space import corpus_line

    print(corpus_line(CONFIG, Path(RESOURCES)), file=sys.stderr, flush=True)
