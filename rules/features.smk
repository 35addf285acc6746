"""features: frame, token and text features as HDF5 shards; manifests, meta and caption files."""


rule extract_video_features:
    input:
        tar=f"{FRAMES}/frames_{{shard}}.tar",
        status=f"{FRAMES}/status_{{shard}}.parquet",
        model=trained_clip_of,
        config="{features}/{encoder}/encoder_video.yaml",
    output:
        video="{features}/{encoder}/FeatureData/video_shard_{shard}.hdf5",
        token="{features}/{encoder}/TokenData/token_shard_{shard}.hdf5",
    log:
        f"{LOGS}/extract_video_features/{{features}}/{{encoder}}/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/extract_video_features/{{features}}/{{encoder}}/{{shard}}.tsv"
    priority: USES_FRAMES
    conda:
        "../envs/vidloom.yaml"
    threads: HALF
    resources:
        gpu=0,
        nodes=1,
        mem_mb=16000,
        runtime=720,
    params:
        launch=launch_on_one_node,
        how_to_run=how_to_encode,
    shell:
        "{params.launch} -m workflow_scripts.extract_video_features"
        " --config {input.config:q}"
        "{params.how_to_run}"
        " --trained-clip {input.model:q}"
        " --frames {input.tar:q}"
        " --status {input.status:q}"
        " --video-features {output.video:q}"
        " --token-features {output.token:q}"
        " --threads {threads}"
        " >{log:q} 2>&1"


rule extract_text_features:
    # Of the captions alone: mending one leaves the features of the videos as they are.
    input:
        captions=f"{CORPUS}/captions_{{shard}}.parquet",
        model=trained_clip_of,
        config="{features}/{encoder}/encoder_text.yaml",
    output:
        text="{features}/{encoder}/TextData/text_shard_{shard}.hdf5",
        sentence="{features}/{encoder}/SentenceData/sentence_shard_{shard}.hdf5",
    log:
        f"{LOGS}/extract_text_features/{{features}}/{{encoder}}/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/extract_text_features/{{features}}/{{encoder}}/{{shard}}.tsv"
    conda:
        "../envs/vidloom.yaml"
    threads: HALF
    resources:
        gpu=0,
        mem_mb=16000,
        runtime=240,
    params:
        how_to_run=how_to_encode,
    shell:
        "python -m workflow_scripts.extract_text_features"
        " --config {input.config:q}"
        "{params.how_to_run}"
        " --trained-clip {input.model:q}"
        " --captions {input.captions:q}"
        " --text-features {output.text:q}"
        " --sentence-features {output.sentence:q}"
        " --threads {threads}"
        " >{log:q} 2>&1"


rule collect_features:
    # Checks all shards of a side, which is video or text, against the corpus, and lists their keys.
    input:
        features=lambda wildcards: expand(
            "{{features}}/{{encoder}}/{file}_{shard}.hdf5",
            file={
                "video": ["FeatureData/video_shard", "TokenData/token_shard"],
                "text": ["TextData/text_shard", "SentenceData/sentence_shard"],
            }[wildcards.side],
            shard=SHARDS,
        ),
        tables=lambda wildcards: {"video": VIDEOS, "text": CAPTIONS}[wildcards.side],
    output:
        manifest="{features}/{encoder}/{side}_manifest.json",
        meta="{features}/{encoder}/{side}_meta.json",
    log:
        f"{LOGS}/collect_features/{{features}}/{{encoder}}/{{side}}.log",
    benchmark:
        f"{BENCHMARKS}/collect_features/{{features}}/{{encoder}}/{{side}}.tsv"
    conda:
        "../envs/vidloom.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        root=subpath(output.meta, parent=True),
        corpus=folder_of("tables"),
        shards=N_SHARDS,
        videos_per_shard=CONFIG.corpus.videos_per_shard,
    shell:
        "python -m workflow_scripts.collect_features"
        " --side {wildcards.side}"
        " --root {params.root:q}"
        " --corpus {params.corpus:q}"
        " --shards {params.shards}"
        " --videos-per-shard {params.videos_per_shard}"
        " >{log:q} 2>&1"


rule list_captions:
    # The captions of the videos that have features, by split: what data sets are read from.
    input:
        meta="{features}/{encoder}/video_meta.json",
        captions=CAPTIONS,
    output:
        text=caption_files("{features}/{encoder}"),
        tables=expand(
            "{{features}}/{{encoder}}/captions_{split}.arrow",
            split=SPLITS,
        ),
    log:
        f"{LOGS}/list_captions/{{features}}/{{encoder}}.log",
    benchmark:
        f"{BENCHMARKS}/list_captions/{{features}}/{{encoder}}.tsv"
    conda:
        "../envs/vidloom.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        root=subpath(input.meta, parent=True),
        corpus=folder_of("captions"),
        name=CONFIG.corpus.name,
        shards=N_SHARDS,
    shell:
        "python -m workflow_scripts.list_captions"
        " --root {params.root:q}"
        " --corpus {params.corpus:q}"
        " --name {params.name:q}"
        " --shards {params.shards}"
        " >{log:q} 2>&1"
