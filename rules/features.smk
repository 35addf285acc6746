"""features: frame, token and text features as HDF5 shards; manifests, meta and caption files."""


rule extract_features:
    input:
        captions=f"{CORPUS}/captions_{{shard}}.parquet",
        tar=f"{FRAMES}/frames_{{shard}}.tar",
        status=f"{FRAMES}/status_{{shard}}.parquet",
        model=lambda wildcards: (
            TRAINED_CLIP
            if CONFIG.features.encoder(wildcards.encoder).kind == "trained_clip"
            else []
        ),
        config="{features}/{encoder}/encoder.yaml",
    output:
        frames="{features}/{encoder}/FeatureData/video_shard_{shard}.hdf5",
        text="{features}/{encoder}/TextData/text_shard_{shard}.hdf5",
        sentences="{features}/{encoder}/SentenceData/sentence_shard_{shard}.hdf5",
        tokens="{features}/{encoder}/TokenData/token_shard_{shard}.hdf5",
    log:
        f"{LOGS}/extract_features/{{features}}/{{encoder}}/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/extract_features/{{features}}/{{encoder}}/{{shard}}.tsv"
    priority: USES_FRAMES
    conda:
        "../envs/vidloom.yaml"
    threads: HALF
    resources:
        gpu=0,
        mem_mb=16000,
        runtime=720,
    shell:
        "python -m workflow_scripts.extract_features"
        " --config {input.config:q}"
        " --trained-clip {input.model:q}"
        " --captions {input.captions:q}"
        " --frames {input.tar:q}"
        " --status {input.status:q}"
        " --frame-features {output.frames:q}"
        " --text-features {output.text:q}"
        " --sentence-features {output.sentences:q}"
        " --token-features {output.tokens:q}"
        " --threads {threads}"
        " >{log:q} 2>&1"


rule collect_features:
    input:
        features=expand(
            "{{features}}/{{encoder}}/FeatureData/video_shard_{shard}.hdf5",
            shard=SHARDS,
        ),
        captions=CAPTIONS,
    output:
        multiext(
            "{features}/{encoder}/",
            "video_manifest.json",
            "video_meta.json",
            "text_manifest.json",
            "text_meta.json",
        ),
        captions=expand(
            "{{features}}/{{encoder}}/TextData/{corpus}{split}.caption.txt",
            corpus=CONFIG.corpus.name,
            split=["train", "val", "test"],
        ),
    log:
        f"{LOGS}/collect_features/{{features}}/{{encoder}}.log",
    benchmark:
        f"{BENCHMARKS}/collect_features/{{features}}/{{encoder}}.tsv"
    conda:
        "../envs/vidloom.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        root=subpath(output[0], parent=True),
        corpus=folder_of("captions"),
        name=CONFIG.corpus.name,
        shards=N_SHARDS,
        videos_per_shard=CONFIG.corpus.videos_per_shard,
    shell:
        "python -m workflow_scripts.collect_features"
        " --root {params.root:q}"
        " --corpus {params.corpus:q}"
        " --name {params.name:q}"
        " --shards {params.shards}"
        " --videos-per-shard {params.videos_per_shard}"
        " >{log:q} 2>&1"
