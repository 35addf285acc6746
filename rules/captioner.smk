"""captioner: language model, stage 1 (projector), stage 2 (projector and LoRA), captions, evaluation."""

CAPTIONER = f"{RESULTS}/captioner"
DEMO_LM = CONFIG.captioner.demo_language_model is not None
LANGUAGE_MODEL = [f"{CAPTIONER}/demo_language_model"] if DEMO_LM else []
IMAGE_TEXT = image_text_encoder()


if CONFIG.captioner.enabled:

    if DEMO_LM:

        rule make_demo_language_model:
            # A tiny language model trained on the training captions; it stands in for a downloaded LLM.
            input:
                captions=CAPTIONS,
                config=frozen("captioner_language_model"),
            output:
                directory(f"{CAPTIONER}/demo_language_model"),
            log:
                f"{LOGS}/make_demo_language_model.log",
            benchmark:
                f"{BENCHMARKS}/make_demo_language_model.tsv"
            conda:
                "../envs/vidloom.yaml"
            threads: HALF
            resources:
                mem_mb=4000,
                runtime=60,
            params:
                corpus=folder_of("captions"),
                shards=N_SHARDS,
                seed=CONFIG.seed,
            shell:
                "python -m workflow_scripts.make_demo_language_model"
                " --config {input.config:q}"
                " --corpus {params.corpus:q}"
                " --shards {params.shards}"
                " --model {output:q}"
                " --threads {threads}"
                " --seed {params.seed}"
                " >{log:q} 2>&1"

    rule train_captioner_stage1:
        input:
            features=feature_index(CONFIG.captioner.encoder, "video"),
            captions=CAPTIONS,
            status=STATUS,
            language_model=LANGUAGE_MODEL,
            config=frozen("captioner_stage1"),
        output:
            model=directory(f"{CAPTIONER}/stage1"),
            curve=f"{CAPTIONER}/stage1_curve.csv",
        log:
            f"{LOGS}/train_captioner_stage1.log",
        benchmark:
            f"{BENCHMARKS}/train_captioner_stage1.tsv"
        conda:
            "../envs/vidloom.yaml"
        threads: HALF
        resources:
            gpu=0,
            nodes=1,
            mem_mb=32000,
            runtime=1440,
        params:
            launch=launch,
            features=folder_of("features"),
            corpus=folder_of("captions"),
            frames=folder_of("status"),
            shards=N_SHARDS,
            checkpoints=f"{CAPTIONER}/stage1_checkpoints",
            how_to_train=how_to_train,
            seed=CONFIG.seed,
        shell:
            "{params.launch} -m workflow_scripts.train_captioner_stage1"
            " --config {input.config:q}"
            " --demo-language-model {input.language_model:q}"
            " --features {params.features:q}"
            " --corpus {params.corpus:q}"
            " --frames {params.frames:q}"
            " --shards {params.shards}"
            " --checkpoints {params.checkpoints:q}"
            " --model {output.model:q}"
            " --curve {output.curve:q}"
            "{params.how_to_train}"
            " --threads {threads}"
            " --seed {params.seed}"
            " >{log:q} 2>&1"

    rule train_captioner_stage2:
        input:
            stage1=f"{CAPTIONER}/stage1",
            features=feature_index(CONFIG.captioner.encoder, "video"),
            captions=CAPTIONS,
            status=STATUS,
            language_model=LANGUAGE_MODEL,
            config=frozen("captioner_stage2"),
        output:
            model=directory(f"{CAPTIONER}/stage2"),
            curve=f"{CAPTIONER}/stage2_curve.csv",
        log:
            f"{LOGS}/train_captioner_stage2.log",
        benchmark:
            f"{BENCHMARKS}/train_captioner_stage2.tsv"
        conda:
            "../envs/vidloom.yaml"
        threads: HALF
        resources:
            gpu=0,
            nodes=1,
            mem_mb=32000,
            runtime=2880,
        params:
            launch=launch,
            features=folder_of("features"),
            corpus=folder_of("captions"),
            frames=folder_of("status"),
            shards=N_SHARDS,
            checkpoints=f"{CAPTIONER}/stage2_checkpoints",
            how_to_train=how_to_train,
            seed=CONFIG.seed,
        shell:
            "{params.launch} -m workflow_scripts.train_captioner_stage2"
            " --config {input.config:q}"
            " --demo-language-model {input.language_model:q}"
            " --stage1 {input.stage1:q}"
            " --features {params.features:q}"
            " --corpus {params.corpus:q}"
            " --frames {params.frames:q}"
            " --shards {params.shards}"
            " --checkpoints {params.checkpoints:q}"
            " --model {output.model:q}"
            " --curve {output.curve:q}"
            "{params.how_to_train}"
            " --threads {threads}"
            " --seed {params.seed}"
            " >{log:q} 2>&1"

    rule generate_captions:
        # Captions are kept as they are made in an undeclared folder, from which a killed job goes on.
        input:
            model=f"{CAPTIONER}/stage2",
            features=feature_index(CONFIG.captioner.encoder, "video"),
            captions=CAPTIONS,
            status=STATUS,
            language_model=LANGUAGE_MODEL,
            config=frozen("captioner_generation"),
        output:
            captions=f"{CAPTIONER}/captions_{{split}}.jsonl",
            table=f"{CAPTIONER}/captions_{{split}}.parquet",
        log:
            f"{LOGS}/generate_captions/{{split}}.log",
        benchmark:
            f"{BENCHMARKS}/generate_captions/{{split}}.tsv"
        conda:
            "../envs/vidloom.yaml"
        threads: HALF
        resources:
            gpu=0,
            mem_mb=32000,
            runtime=720,
        params:
            features=folder_of("features"),
            corpus=folder_of("captions"),
            frames=folder_of("status"),
            shards=N_SHARDS,
            progress=f"{CAPTIONER}/captions_{{split}}.part",
            how_to_run=how_to_run(CONFIG.captioner.generation),
            seed=CONFIG.seed,
        shell:
            "python -m workflow_scripts.generate_captions"
            " --config {input.config:q}"
            " --demo-language-model {input.language_model:q}"
            " --model {input.model:q}"
            " --features {params.features:q}"
            " --corpus {params.corpus:q}"
            " --frames {params.frames:q}"
            " --shards {params.shards}"
            " --split {wildcards.split}"
            " --captions {output.captions:q}"
            " --table {output.table:q}"
            " --progress {params.progress:q}"
            "{params.how_to_run}"
            " --threads {threads}"
            " --seed {params.seed}"
            " >{log:q} 2>&1"

    rule evaluate_captions:
        input:
            captions=f"{CAPTIONER}/captions_test.jsonl",
            model=f"{CAPTIONER}/stage2",
            features=[feature_index(name, "video") for name in IMAGE_TEXT],
            encoder=[text_section(name) for name in IMAGE_TEXT],
            clip=[trained_clip(name) for name in IMAGE_TEXT],
            config=frozen("captioner_evaluation"),
        output:
            f"{CAPTIONER}/metrics.json",
        log:
            f"{LOGS}/evaluate_captions.log",
        benchmark:
            f"{BENCHMARKS}/evaluate_captions.tsv"
        conda:
            "../envs/vidloom.yaml"
        threads: HALF
        resources:
            gpu=0,
            mem_mb=16000,
            runtime=240,
        params:
            features=folder_of("features"),
            languages=CONFIG.captioner.languages or CONFIG.corpus.languages,
            seed=CONFIG.seed,
        shell:
            "python -m workflow_scripts.evaluate_captions"
            " --config {input.config:q}"
            " --captions {input.captions:q}"
            " --model {input.model:q}"
            " --languages {params.languages:q}"
            " --features {params.features:q}"
            " --encoder {input.encoder:q}"
            " --trained-clip {input.clip:q}"
            " --metrics {output:q}"
            " --threads {threads}"
            " --seed {params.seed}"
            " >{log:q} 2>&1"
