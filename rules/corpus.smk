"""corpus: one typed table of videos and one of captions, split into numbered shards."""

from workflow_scripts.lib.corpus.checks import default_root
from workflow_scripts.lib.corpus.digests import (
    annotations_state,
    table_digests,
    tables_to_make,
)

DEMO_CORPUS = CONFIG.corpus.adapter == "demo"
if DEMO_CORPUS:  # It names no annotations: make_demo_corpus writes them.
    rendered = Path(f"{RESOURCES}/raw/annotations.jsonl")
    corpus_there = CONFIG.corpus.model_copy(update={"annotations": rendered})
    CONFIG = CONFIG.model_copy(update={"corpus": corpus_there})
ANNOTATIONS = [str(file) for file, _ in CONFIG.corpus.annotation_files()]
CORPUS_ROOT = str(default_root(CONFIG.corpus))
PROBLEMS = f"{RESOURCES}/ingest/problems.jsonl"

# What the tables of each shard are made of, read from the annotations before the DAG is built: this decides which
# of them an edit of the annotations touches.
try:
    ANNOTATIONS_STATE = annotations_state(CONFIG.corpus)
    TABLE_DIGESTS = table_digests(
        CONFIG.corpus, ANNOTATIONS_STATE, cache=f"{RESOURCES}/.shard_digests.json"
    )
except UserError as error:
    raise WorkflowError(str(error)) from None
TABLES_TO_MAKE = tables_to_make(TABLE_DIGESTS, Path(CORPUS))


if DEMO_CORPUS:

    rule make_demo_corpus:
        # Renders a synthetic corpus. A real run has no such rule.
        output:
            annotations=ANNOTATIONS[0],
            videos=directory(f"{RESOURCES}/raw/videos"),
        log:
            f"{LOGS}/make_demo_corpus.log",
        benchmark:
            f"{BENCHMARKS}/make_demo_corpus.tsv"
        conda:
            "../envs/vidloom.yaml"
        threads: 16
        resources:
            mem_mb=2000,
            runtime=30,
        params:
            videos=CONFIG.corpus.demo.videos,
            moments=CONFIG.corpus.demo.moments,
            size=CONFIG.corpus.demo.size,
            fps=CONFIG.corpus.demo.fps,
            seed=CONFIG.corpus.demo.seed,
        shell:
            "python -m workflow_scripts.make_demo_corpus"
            " --annotations {output.annotations:q}"
            " --video-folder {output.videos:q}"
            " --videos {params.videos}"
            " --moments {params.moments}"
            " --size {params.size}"
            " --fps {params.fps}"
            " --seed {params.seed}"
            " --workers {threads}"
            " >{log:q} 2>&1"


rule ingest_corpus:
    # Reads and checks all annotations once. A folder's own time does not tell of an edit inside; its state does.
    input:
        annotations=ANNOTATIONS,
        config=frozen("corpus"),
    output:
        videos=f"{RESOURCES}/ingest/videos.parquet",
        captions=f"{RESOURCES}/ingest/captions.parquet",
        problems=PROBLEMS,
    log:
        f"{LOGS}/ingest_corpus.log",
    benchmark:
        f"{BENCHMARKS}/ingest_corpus.tsv"
    conda:
        "../envs/vidloom.yaml"
    resources:
        mem_mb=2500,
        runtime=60,
    params:
        annotations=ANNOTATIONS_STATE,
    shell:
        "python -m workflow_scripts.ingest_corpus"
        " --config {input.config:q}"
        " --videos {output.videos:q}"
        " --captions {output.captions:q}"
        " --problems {output.problems:q}"
        " >{log:q} 2>&1"


rule corpus_shard:
    # A table (videos_007) of one shard. Videos and captions are apart, so that mending a caption leaves the frames,
    # and what is made of them, as they are.
    input:
        lambda wildcards: f"{RESOURCES}/ingest/{wildcards.table.split('_')[0]}.parquet",
    output:
        rows=f"{CORPUS}/{{table}}.parquet",
        digest=f"{CORPUS}/.digest_{{table}}.txt",
    log:
        f"{LOGS}/corpus_shard/{{table}}.log",
    benchmark:
        f"{BENCHMARKS}/corpus_shard/{{table}}.tsv"
    # There is a job for the tables that are to be made. The others are files without a rule, like the annotations: no
    # ingest starts them again, not for a video added at the end and not for a run that failed. (As ancient inputs,
    # they would all be made anew when a failed ingest has left no tables.)
    wildcard_constraints:
        table="|".join(TABLES_TO_MAKE) or "none",
    conda:
        "../envs/vidloom.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        kind=lambda wildcards: wildcards.table.split("_")[0],
        shard=lambda wildcards: wildcards.table.split("_")[1],
        videos_per_shard=CONFIG.corpus.videos_per_shard,
        digest=lambda wildcards: TABLE_DIGESTS[wildcards.table],
    shell:
        "python -m workflow_scripts.corpus_shard"
        " --table {params.kind}"
        " --whole {input:q}"
        " --shard {params.shard}"
        " --videos-per-shard {params.videos_per_shard}"
        " --rows {output.rows:q}"
        " >{log:q} 2>&1"
        " && printf %s {params.digest:q} >{output.digest:q}"
