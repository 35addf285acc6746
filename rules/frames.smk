"""frames: sampled frames of every shard, and a status row for every video."""

FRAMES = f"{RESOURCES}/frames"
FRAME_TARS = expand(f"{FRAMES}/frames_{{shard}}.tar", shard=SHARDS)
STATUS = expand(f"{FRAMES}/status_{{shard}}.parquet", shard=SHARDS)


rule extract_frames:
    input:
        videos=f"{CORPUS}/videos_{{shard}}.parquet",
        config=frozen("frames"),
    output:
        tar=f"{FRAMES}/frames_{{shard}}.tar",
        status=f"{FRAMES}/status_{{shard}}.parquet",
    log:
        f"{LOGS}/extract_frames/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/extract_frames/{{shard}}.tsv"
    conda:
        "../envs/vidloom.yaml"
    threads: HALF
    resources:
        mem_mb=8000,
        runtime=720,
    params:
        root=CORPUS_ROOT,
        journal=f"{FRAMES}/journal_{{shard}}",  # undeclared: it outlives a failed job
    shell:
        "python -m workflow_scripts.extract_frames"
        " --config {input.config:q}"
        " --videos {input.videos:q}"
        " --root {params.root:q}"
        " --journal {params.journal:q}"
        " --tar {output.tar:q}"
        " --status {output.status:q}"
        " --workers {threads}"
        " >{log:q} 2>&1"
