"""clip (optional): train or fine-tune an OpenCLIP model on frame-caption pairs."""

CLIP = f"{RESULTS}/clip"
TRAINED_CLIP = f"{CLIP}/trained"
DEMO_CLIP = CONFIG.clip.demo_model is not None


if CONFIG.clip.enabled:

    if DEMO_CLIP:

        rule make_demo_clip_model:
            # A tiny architecture, and a tokenizer made from the training captions. A real run names a model of open_clip.
            input:
                captions=CAPTIONS,
                config=frozen("clip"),
            output:
                directory(f"{CLIP}/demo_model"),
            log:
                f"{LOGS}/make_demo_clip_model.log",
            benchmark:
                f"{BENCHMARKS}/make_demo_clip_model.tsv"
            conda:
                "../envs/vidloom.yaml"
            resources:
                mem_mb=2000,
                runtime=10,
            params:
                corpus=folder_of("captions"),
                shards=N_SHARDS,
            shell:
                "python -m workflow_scripts.make_demo_clip_model"
                " --config {input.config:q}"
                " --corpus {params.corpus:q}"
                " --shards {params.shards}"
                " --model {output:q}"
                " >{log:q} 2>&1"

    rule pack_pairs:
        input:
            captions=f"{CORPUS}/captions_{{shard}}.parquet",
            tar=f"{FRAMES}/frames_{{shard}}.tar",
            status=f"{FRAMES}/status_{{shard}}.parquet",
            config=frozen("clip"),
        output:
            train=f"{CLIP}/pairs/train_{{shard}}.tar",
            val=f"{CLIP}/pairs/val_{{shard}}.tar",
            counts=f"{CLIP}/pairs/counts_{{shard}}.json",
        log:
            f"{LOGS}/pack_pairs/{{shard}}.log",
        benchmark:
            f"{BENCHMARKS}/pack_pairs/{{shard}}.tsv"
        priority: USES_FRAMES
        conda:
            "../envs/vidloom.yaml"
        resources:
            mem_mb=2000,
            runtime=60,
        params:
            seed=CONFIG.seed,
        shell:
            "python -m workflow_scripts.pack_pairs"
            " --config {input.config:q}"
            " --captions {input.captions:q}"
            " --frames {input.tar:q}"
            " --status {input.status:q}"
            " --train {output.train:q}"
            " --val {output.val:q}"
            " --counts {output.counts:q}"
            " --seed {params.seed}"
            " >{log:q} 2>&1"

    rule train_clip:
        # open_clip_train itself; its checkpoints lie in an undeclared folder, from which a killed job goes on.
        input:
            pairs=expand(
                f"{CLIP}/pairs/{{kind}}_{{shard}}.{{ending}}",
                zip,
                kind=["train"] * N_SHARDS + ["val"] * N_SHARDS + ["counts"] * N_SHARDS,
                ending=["tar"] * 2 * N_SHARDS + ["json"] * N_SHARDS,
                shard=SHARDS * 3,
            ),
            model=rules.make_demo_clip_model.output if DEMO_CLIP else [],
            config=frozen("clip"),
        output:
            model=directory(TRAINED_CLIP),
            curve=f"{CLIP}/curve.csv",
        log:
            f"{LOGS}/train_clip.log",
        benchmark:
            f"{BENCHMARKS}/train_clip.tsv"
        conda:
            "../envs/vidloom.yaml"
        threads: HALF
        resources:
            gpu=0,
            mem_mb=16000,
            runtime=2880,
        params:
            pairs=folder_of("pairs"),
            shards=N_SHARDS,
            checkpoints=f"{CLIP}/checkpoints",
            seed=CONFIG.seed,
        shell:
            f"{LAUNCH} -m workflow_scripts.train_clip"
            " --config {input.config:q}"
            " --demo-model {input.model:q}"
            " --pairs {params.pairs:q}"
            " --shards {params.shards}"
            " --checkpoints {params.checkpoints:q}"
            " --model {output.model:q}"
            " --curve {output.curve:q}"
            " --threads {threads}"
            " --seed {params.seed}"
            " >{log:q} 2>&1"

    rule evaluate_clip:
        input:
            model=rules.train_clip.output.model,
            captions=CAPTIONS,
            tars=FRAME_TARS,
            status=STATUS,
            config=frozen("clip"),
        output:
            f"{CLIP}/metrics.json",
        log:
            f"{LOGS}/evaluate_clip.log",
        benchmark:
            f"{BENCHMARKS}/evaluate_clip.tsv"
        conda:
            "../envs/vidloom.yaml"
        threads: HALF
        resources:
            gpu=0,
            mem_mb=8000,
            runtime=120,
        params:
            corpus=folder_of("captions"),
            frames=folder_of("status"),
            shards=N_SHARDS,
            seed=CONFIG.seed,
        shell:
            "python -m workflow_scripts.evaluate_clip"
            " --config {input.config:q}"
            " --model {input.model:q}"
            " --corpus {params.corpus:q}"
            " --frames {params.frames:q}"
            " --shards {params.shards}"
            " --metrics {output:q}"
            " --threads {threads}"
            " --seed {params.seed}"
            " >{log:q} 2>&1"
