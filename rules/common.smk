"""What every stage shares: the checked config, paths, wildcards, and the launcher of training."""

import sys
from pathlib import Path

# The package lies beside the Snakefile, from whatever folder Snakemake is called.
sys.path.insert(0, str(workflow.basedir))

from workflow_scripts.lib.config import freeze, freeze_named, freeze_side, parse_config
from workflow_scripts.lib.corpus.tables import SPLITS
from workflow_scripts.lib.environment import hold_run_lock, use_this_checkout
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.launching import launcher
from workflow_scripts.lib.leftovers import end_left_jobs
from workflow_scripts.lib.running import running_flags
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

# The tables that later stages read: videos, captions, and what became of decoding each video, where there are videos.
CORPUS = f"{RESOURCES}/corpus"
FRAMES = f"{RESOURCES}/frames"
VIDEOS = expand(f"{CORPUS}/videos_{{shard}}.parquet", shard=SHARDS)
CAPTIONS = expand(f"{CORPUS}/captions_{{shard}}.parquet", shard=SHARDS)
STATUS = expand(
    f"{FRAMES}/status_{{shard}}.parquet",
    shard=[] if CONFIG.corpus.is_imported else SHARDS,
)

# Inputs are named by their paths, never as `rules.<step>.output`: for a step with such a one, Snakemake hashes the list
# of all its inputs once for each of them, so that the time of planning grows with the square of the shards.

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
    split="|".join(SPLITS),
    # what an encoder has read
    side="video|text",
    # a section of the config, or a part of one that other rules depend on than on the whole
    section="corpus|frames|clip|clip_data|clip_evaluation|retrieval|report"
    "|captioner_(language_model|stage1|stage2|generation|evaluation)",
    # where frozen sections lie
    place=f"{RESOURCES}|{RESULTS}",


def frozen(section):
    """Path of a frozen config section: with the data it describes, or with the run."""
    place = RESOURCES if section in ("corpus", "frames") else RESULTS
    return f"{place}/config/{section}.yaml"


def folder_of(name):
    """For `params`: the folder of the first input of that name, if any. Hundreds of shards travel as a folder and a count."""

    def folder(wildcards, input):
        files = getattr(input, name)
        first = files if isinstance(files, str) else next(iter(files), None)
        return str(Path(first).parent) if first else []

    return folder


def feature_root(encoder):
    """Folder of an encoder's features: a model trained in this run belongs to the run."""
    trained = CONFIG.features.encoder(encoder).kind == "trained_clip"
    return f"{RESULTS if trained else RESOURCES}/features/{encoder}"


def feature_index(encoder, side):
    """The file that says that all shards of an encoder are there; the side is video or text."""
    return f"{feature_root(encoder)}/{side}_meta.json"


def caption_tables(encoder):
    """The captions, by split, of the videos that have features of an encoder."""
    return [f"{feature_root(encoder)}/captions_{split}.arrow" for split in SPLITS]


def all_captions():
    """The captions of every encoder that sees videos, used or not: what code of one's own starts from."""
    return [
        table
        for encoder in CONFIG.features.encoders
        if "video" in encoder.sides()
        for table in caption_tables(encoder.name)
    ]


def caption_files(root):
    """The same as text, one caption a line, as GMMFormer-style code reads them."""
    name = CONFIG.corpus.name
    return [f"{root}/TextData/{name}{split}.caption.txt" for split in SPLITS]


def all_features():
    """The index of every encoder that the config lists, used or not."""
    return [
        feature_index(encoder.name, side)
        for encoder in CONFIG.features.encoders
        for side in encoder.sides()
    ]


def trained_clip(encoder):
    """The model of this run, for the encoders that are it."""
    kind = CONFIG.features.encoder(encoder).kind
    return TRAINED_CLIP if kind == "trained_clip" else []


def trained_clip_of(wildcards):
    """The same, for rules that make the features of any encoder."""
    return trained_clip(wildcards.encoder)


# Snakemake compares no parameter whose function takes `input` or `resources` with that of the last run: neither more
# workers nor more GPUs, which a profile sets, are a reason to train again.


def launch(wildcards, resources, threads):
    """For `params`: what a command that several GPUs share begins with."""
    return launcher(resources.gpu, resources.nodes, threads)


def launch_on_one_node(wildcards, resources, threads):
    """The same, where the processes write one file together."""
    return launcher(resources.gpu, resources.nodes, threads, most_nodes=1)


def how_to_run(section):
    """For `params`: workers and the like of a section, as flags."""
    return lambda wildcards, input: running_flags(section, section.RUNNING)


def how_to_encode(wildcards, input):
    """The same of an encoder, and the number of shards, to tell the space that all of them take."""
    encoder = CONFIG.features.encoder(wildcards.encoder)
    return f"{running_flags(encoder, encoder.RUNNING)} --shards {N_SHARDS}"


def how_to_train(wildcards, input):
    """The same of the captioner's stages, but for what the preset decides on; and when to warn of a collapse."""
    captioner = CONFIG.captioner
    keys = type(captioner.running).model_fields
    flags = running_flags(captioner.running, keys, only_set=True)
    return f"{flags} --diversity-floor {captioner.evaluation.diversity_floor}"


def text_section(encoder):
    """What of an encoder decides about the features of captions, and of a query; of one that runs here."""
    imported = CONFIG.features.encoder(encoder).kind == "imported"
    return [] if imported else [f"{feature_root(encoder)}/encoder_text.yaml"]


def encoder_sections():
    """The whole section of every encoder that runs here: what verify_features encodes again by."""
    return [
        f"{feature_root(encoder.name)}/encoder.yaml"
        for encoder in CONFIG.features.encoders
        if encoder.kind != "imported"
    ]


def image_text_encoder():
    """The name of the encoder that captions are scored against frames with, in a list; none where there is none."""
    evaluation = CONFIG.captioner.evaluation
    name = evaluation.image_text_encoder or CONFIG.captioner.encoder
    if not (CONFIG.captioner.enabled and evaluation.image_text):
        return []
    encoder = CONFIG.features.encoder(name)
    return [name] if encoder.kind != "imported" and len(encoder.sides()) == 2 else []


def search_index():
    """The folder that `search` looks into."""
    wanted = CONFIG.retrieval.enabled and CONFIG.retrieval.index
    return [f"{RESULTS}/retrieval/index"] if wanted else []


onstart:
    # Takes the place of Snakemake's lock (`nolock` in the profiles), which a kill -9 leaves behind.
    try:
        hold_run_lock(Path(".snakemake/run.lock"))
        end_left_jobs(Path.cwd(), local=workflow.local_exec)
    except UserError as error:
        raise WorkflowError(str(error)) from None
    # What `python -m workflow_scripts.status` tells of.
    record_run(workflow, CONFIG)
    # Imported here: it is heavy, and this is the one process that needs it.
    from workflow_scripts.lib.frames.space import corpus_line

    print(corpus_line(CONFIG, Path(RESOURCES)), file=sys.stderr, flush=True)
