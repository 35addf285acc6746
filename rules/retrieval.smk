"""retrieval: train and evaluate GMMFormer."""

RETRIEVAL = f"{RESULTS}/retrieval"
TEXT_ENCODER = CONFIG.retrieval.text_encoder or CONFIG.retrieval.encoder


if CONFIG.retrieval.enabled:

    rule train_retrieval:
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
            mem_mb=16000,
            runtime=2880,
        params:
            features=folder_of("features"),
            texts=folder_of("texts"),
            checkpoints=f"{RETRIEVAL}/checkpoints",
            seed=CONFIG.seed,
        shell:
            "python -m workflow_scripts.train_retrieval"
            " --config {input.config:q}"
            " --features {params.features:q}"
            " --text-features {params.texts:q}"
            " --checkpoints {params.checkpoints:q}"
            " --model {output.model:q}"
            " --curve {output.curve:q}"
            " --threads {threads}"
            " --seed {params.seed}"
            " >{log:q} 2>&1"

    rule evaluate_retrieval:
        input:
            model=rules.train_retrieval.output.model,
            features=feature_index(CONFIG.retrieval.encoder, "video"),
            texts=feature_index(TEXT_ENCODER, "text"),
            captions=caption_tables(CONFIG.retrieval.encoder),
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
            seed=CONFIG.seed,
        shell:
            "python -m workflow_scripts.evaluate_retrieval"
            " --config {input.config:q}"
            " --model {input.model:q}"
            " --features {params.features:q}"
            " --text-features {params.texts:q}"
            " --metrics {output.metrics:q}"
            " --ranks {output.ranks:q}"
            " --threads {threads}"
            " --seed {params.seed}"
            " >{log:q} 2>&1"
