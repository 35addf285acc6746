"""frames: sampled frames of every shard, and a status row for every video."""

from shlex import quote

FRAME_TARS = expand(f"{FRAMES}/frames_{{shard}}.tar", shard=SHARDS)

# Where tars are removed after their use, the rules that use them go before those that make more of them.
USES_FRAMES = 0 if CONFIG.frames.keep else 1

# Who decodes and when to give up. Neither in the frozen section nor in params, so that a longer time limit
# does not make all frames anew.
DECODING = (
    f" --timeout-s {CONFIG.frames.timeout_s}"
    f" --memory-mb {CONFIG.frames.memory_mb}"
    f" --max-bad-fraction {CONFIG.frames.max_bad_fraction}"
    f" --executor {CONFIG.frames.executor}"
    f" --ray-address {quote(CONFIG.frames.ray_address)}"
    + ("" if CONFIG.frames.keep else " --no-keep")
)

# What a decoding process takes at most times; torchcodec brings torch along.
WORKER_MB = 500 if set(CONFIG.frames.decoders()) <= {"pyav", "decord"} else 1500


rule extract_frames:
    input:
        videos=f"{CORPUS}/videos_{{shard}}.parquet",
        captions=(
            f"{CORPUS}/captions_{{shard}}.parquet"
            if CONFIG.frames.moment_frames
            else []
        ),
        config=frozen("frames"),
        # where retry_failed asked for the shard again: newer than its frames, this starts the job
        retry=lambda wildcards: list(Path(FRAMES).glob(f"retry_{wildcards.shard}.json")),
    output:
        tar=(
            f"{FRAMES}/frames_{{shard}}.tar"
            if CONFIG.frames.keep
            else temp(f"{FRAMES}/frames_{{shard}}.tar")
        ),
        status=f"{FRAMES}/status_{{shard}}.parquet",
    log:
        f"{LOGS}/extract_frames/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/extract_frames/{{shard}}.tsv"
    conda:
        "../envs/vidloom.yaml"
    threads: HALF if CONFIG.frames.executor == "processes" else 1
    resources:
        mem_mb=lambda wildcards, threads: 2000 + WORKER_MB * threads,
        runtime=720,
    params:
        root=CORPUS_ROOT,
        journal=f"{FRAMES}/journal_{{shard}}",  # undeclared: it outlives a failed job
    shell:
        "python -m workflow_scripts.extract_frames"
        " --config {input.config:q}"
        " --videos {input.videos:q}"
        " --captions {input.captions:q}"
        " --root {params.root:q}"
        " --journal {params.journal:q}"
        " --tar {output.tar:q}"
        " --status {output.status:q}"
        " --workers {threads}"
        f"{DECODING}"
        " >{log:q} 2>&1"
