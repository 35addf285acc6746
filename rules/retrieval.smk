"""retrieval: train and evaluate GMMFormer, and encode the videos for searching."""

RETRIEVAL = f"{RESULTS}/retrieval"
TEXT_ENCODER = CONFIG.retrieval.text_encoder or CONFIG.retrieval.encoder


if CONFIG.retrieval.enabled:

    rule train_retrieval:
        # Its checkpoints lie in an undeclared folder, from which a killed job goes on, and so does its log.
        input:
            features=feature_index(CONFIG.retrieval.encoder, "video"),
            texts=feature_index(TEXT_ENCODER, "text"),
            captions=caption_tables(CONFIG.retrieval.encoder),
            config=frozen("retrieval"),
        output:
            model=directory(f"{RETRIEVAL}/model"),
            curve=f"{RETRIEVAL}/curve.csv",
        log:
            f"{LOGS}/train_retrieval.log",
        benchmark:
            f"{BENCHMARKS}/train_retrieval.tsv"
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
            features=folder_of("features"),
            texts=folder_of("texts"),
            checkpoints=f"{RETRIEVAL}/checkpoints",
            log_folder=f"{RETRIEVAL}/log",
            how_to_run=how_to_run(CONFIG.retrieval),
            seed=CONFIG.seed,
        shell:
            "{params.launch} -m workflow_scripts.train_retrieval"
            " --config {input.config:q}"
            " --features {params.features:q}"
            " --text-features {params.texts:q}"
            " --checkpoints {params.checkpoints:q}"
            " --log-folder {params.log_folder:q}"
            " --model {output.model:q}"
            " --curve {output.curve:q}"
            "{params.how_to_run}"
            " --threads {threads}"
            " --seed {params.seed}"
            " >{log:q} 2>&1"

    rule evaluate_retrieval:
        input:
            model=f"{RETRIEVAL}/model",
            features=feature_index(CONFIG.retrieval.encoder, "video"),
            texts=feature_index(TEXT_ENCODER, "text"),
            lists=caption_tables(CONFIG.retrieval.encoder),
            videos=VIDEOS,
            captions=CAPTIONS,
            status=STATUS,
            config=frozen("retrieval"),
        output:
            metrics=f"{RETRIEVAL}/metrics.json",
            ranks=f"{RETRIEVAL}/ranks.parquet",
        log:
            f"{LOGS}/evaluate_retrieval.log",
        benchmark:
            f"{BENCHMARKS}/evaluate_retrieval.tsv"
        conda:
            "../envs/vidloom.yaml"
        threads: HALF
        resources:
            gpu=0,
            mem_mb=8000,
            runtime=120,
        params:
            features=folder_of("features"),
            texts=folder_of("texts"),
            corpus=folder_of("captions"),
            frames=folder_of("status"),
            shards=N_SHARDS,
            seed=CONFIG.seed,
        shell:
            "python -m workflow_scripts.evaluate_retrieval"
            " --config {input.config:q}"
            " --model {input.model:q}"
            " --features {params.features:q}"
            " --text-features {params.texts:q}"
            " --corpus {params.corpus:q}"
            " --frames {params.frames:q}"
            " --shards {params.shards}"
            " --metrics {output.metrics:q}"
            " --ranks {output.ranks:q}"
            " --threads {threads}"
            " --seed {params.seed}"
            " >{log:q} 2>&1"


if search_index():

    rule build_index:
        input:
            model=f"{RETRIEVAL}/model",
            features=feature_index(CONFIG.retrieval.encoder, "video"),
            texts=feature_index(TEXT_ENCODER, "text"),
            lists=caption_tables(CONFIG.retrieval.encoder),
            videos=VIDEOS,
            status=STATUS,
            encoder=text_section(TEXT_ENCODER),
            clip=trained_clip(TEXT_ENCODER),
            config=frozen("retrieval"),
        output:
            directory(search_index()[0]),
        log:
            f"{LOGS}/build_index.log",
        benchmark:
            f"{BENCHMARKS}/build_index.tsv"
        conda:
            "../envs/vidloom.yaml"
        threads: HALF
        resources:
            gpu=0,
            mem_mb=16000,
            runtime=720,
        params:
            features=folder_of("features"),
            texts=folder_of("texts"),
            corpus=folder_of("videos"),
            frames=folder_of("status"),
            shards=N_SHARDS,
            splits=CONFIG.retrieval.index,
            seed=CONFIG.seed,
        shell:
            "python -m workflow_scripts.build_index"
            " --config {input.config:q}"
            " --model {input.model:q}"
            " --features {params.features:q}"
            " --text-features {params.texts:q}"
            " --encoder {input.encoder:q}"
            " --trained-clip {input.clip:q}"
            " --corpus {params.corpus:q}"
            " --frames {params.frames:q}"
            " --shards {params.shards}"
            " --splits {params.splits}"
            " --index {output:q}"
            " --threads {threads}"
            " --seed {params.seed}"
            " >{log:q} 2>&1"
