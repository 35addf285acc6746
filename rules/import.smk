"""import: features that were extracted elsewhere, as the corpus; in place of corpus, frames, clip and features."""

from workflow_scripts.lib.features.imports.sources import source_files

(IMPORTED,) = CONFIG.features.encoders
IMPORT_ROOT = feature_root(IMPORTED.name)
CORPUS_ROOT = []  # no videos
PROBLEMS = f"{IMPORT_ROOT}/not_taken.jsonl"

# Flags of what is given; the import has its own defaults.
GIVEN = "".join(
    f" --{key} {{params.{key}:q}}"
    for key in ("captions", "visual", "queries")
    if getattr(IMPORTED, key)
)

try:
    SOURCE_FILES = source_files(IMPORTED)
except UserError as error:
    raise WorkflowError(str(error)) from None


rule import_features:
    # All shards in one job: which video a shard begins with, only reading those before it tells.
    input:
        source=SOURCE_FILES,
        captions=str(IMPORTED.captions) if IMPORTED.captions else [],
    output:
        videos=VIDEOS,
        captions=CAPTIONS,
        features=expand(
            f"{IMPORT_ROOT}/{{kind}}_shard_{{shard}}.hdf5",
            kind=[
                "FeatureData/video",
                "TokenData/token",
                "TextData/text",
                "SentenceData/sentence",
            ],
            shard=SHARDS,
        ),
        index=expand(
            f"{IMPORT_ROOT}/{{side}}_{{file}}.json",
            side=IMPORTED.sides(),
            file=["manifest", "meta"],
        ),
        lists=caption_files(IMPORT_ROOT) + caption_tables(IMPORTED.name),
        not_taken=PROBLEMS,
    log:
        f"{LOGS}/import_features.log",
    benchmark:
        f"{BENCHMARKS}/import_features.tsv"
    conda:
        "../envs/vidloom.yaml"
    resources:
        mem_mb=16000,
        runtime=2880,
    params:
        root=subpath(output.not_taken, parent=True),
        corpus=lambda wildcards, output: str(Path(output.videos[0]).parent),
        format=IMPORTED.format,
        source=str(IMPORTED.source),
        captions=str(IMPORTED.captions),
        visual=IMPORTED.visual,
        queries=IMPORTED.queries,
        name=CONFIG.corpus.name,
        language=CONFIG.corpus.languages[0],
        dtype=IMPORTED.dtype,
        shards=N_SHARDS,
        videos_per_shard=CONFIG.corpus.videos_per_shard,
    shell:
        "python -m workflow_scripts.import_features"
        " --format {params.format}"
        " --source {params.source:q}"
        " --language {params.language:q}"
        " --dtype {params.dtype}"
        " --root {params.root:q}"
        " --corpus {params.corpus:q}"
        " --name {params.name:q}"
        " --shards {params.shards}"
        " --videos-per-shard {params.videos_per_shard}"
        f"{GIVEN}"
        " >{log:q} 2>&1"
