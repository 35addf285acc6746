"""clip (optional): train or fine-tune an OpenCLIP model on frame-caption pairs."""

from workflow_scripts.lib.clip.named_files import named_files
from workflow_scripts.lib.clip.own_pairs import local_files, zeroshot_files

CLIP = f"{RESULTS}/clip"
TRAINED_CLIP = f"{CLIP}/trained"
DEMO_CLIP = CONFIG.clip.demo_model is not None
DEMO_CLIP_MODEL = [f"{CLIP}/demo_model"] if DEMO_CLIP else []


if CONFIG.clip.enabled:

    DATA = CONFIG.clip.data

    # Own pairs, in place of a split's of the corpus; those that WebDataset fetches are no files here.
    try:
        OWN_PAIRS = {split: local_files(DATA, split) for split in SPLITS}
        ZEROSHOT = zeroshot_files(CONFIG.clip.zeroshot)
        MODEL_FILES = named_files(CONFIG.clip, Path(TRAINED_CLIP))
    except UserError as error:
        raise WorkflowError(str(error)) from None

    # Splits whose pairs are made of the corpus's frames. Without them, and with own pairs to evaluate on, no frame is needed.
    PACKED = [split for split in ("train", "val") if DATA.of_corpus(split)]
    ON_CORPUS = DATA.of_corpus("test")

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
        # A folder a shard: tars, or pictures and tables; and how many pairs they are.
        input:
            captions=f"{CORPUS}/captions_{{shard}}.parquet",
            tar=f"{FRAMES}/frames_{{shard}}.tar",
            status=f"{FRAMES}/status_{{shard}}.parquet",
            config=frozen("clip_data"),
        output:
            directory(f"{CLIP}/pairs/{{shard}}"),
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
            splits=PACKED,
            seed=CONFIG.seed,
        shell:
            "python -m workflow_scripts.pack_pairs"
            " --config {input.config:q}"
            " --captions {input.captions:q}"
            " --frames {input.tar:q}"
            " --status {input.status:q}"
            " --splits {params.splits}"
            " --pairs {output:q}"
            " --seed {params.seed}"
            " >{log:q} 2>&1"

    rule train_clip:
        # open_clip_train itself; its checkpoints lie in an undeclared folder, from which a killed job goes on.
        input:
            pairs=expand(f"{CLIP}/pairs/{{shard}}", shard=SHARDS) if PACKED else [],
            own=OWN_PAIRS["train"] + OWN_PAIRS["val"],
            model=DEMO_CLIP_MODEL,
            files=MODEL_FILES,
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
            nodes=1,
            mem_mb=16000,
            runtime=2880,
        params:
            launch=launch,
            pairs=folder_of("pairs"),
            shards=N_SHARDS,
            checkpoints=f"{CLIP}/checkpoints",
            how_to_run=how_to_run(CONFIG.clip),
            seed=CONFIG.seed,
        shell:
            "{params.launch} -m workflow_scripts.train_clip"
            " --config {input.config:q}"
            " --demo-model {input.model:q}"
            " --pairs {params.pairs:q}"
            " --shards {params.shards}"
            " --checkpoints {params.checkpoints:q}"
            " --model {output.model:q}"
            " --curve {output.curve:q}"
            "{params.how_to_run}"
            " --threads {threads}"
            " --seed {params.seed}"
            " >{log:q} 2>&1"

    rule evaluate_clip:
        # On the corpus's test split, or on own pairs; the model that training began with, too.
        input:
            model=TRAINED_CLIP,
            demo_model=DEMO_CLIP_MODEL,
            captions=CAPTIONS if ON_CORPUS else [],
            tars=FRAME_TARS if ON_CORPUS else [],
            status=STATUS if ON_CORPUS else [],
            own=OWN_PAIRS["test"],
            zeroshot=ZEROSHOT,
            config=frozen("clip"),
            evaluation=frozen("clip_evaluation"),
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
            " --evaluation {input.evaluation:q}"
            " --demo-model {input.demo_model:q}"
            " --model {input.model:q}"
            " --corpus {params.corpus:q}"
            " --frames {params.frames:q}"
            " --shards {params.shards}"
            " --metrics {output:q}"
            " --threads {threads}"
            " --seed {params.seed}"
            " >{log:q} 2>&1"
