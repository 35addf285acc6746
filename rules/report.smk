"""report: every number in one JSON file, and one HTML page that opens offline."""

PLAN = f"{RESULTS}/plan.json"


rule collect_metrics:
    input:
        clip=[f"{RESULTS}/clip/metrics.json"] if CONFIG.clip.enabled else [],
        retrieval=(
            [f"{RESULTS}/retrieval/metrics.json"] if CONFIG.retrieval.enabled else []
        ),
        captioner=(
            [f"{RESULTS}/captioner/metrics.json"] if CONFIG.captioner.enabled else []
        ),
        videos=VIDEOS,
        captions=CAPTIONS,
        status=STATUS,
        problems=PROBLEMS,
        features=all_features(),
    output:
        f"{RESULTS}/metrics.json",
    log:
        f"{LOGS}/collect_metrics.log",
    benchmark:
        f"{BENCHMARKS}/collect_metrics.tsv"
    conda:
        "../envs/vidloom.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        corpus=folder_of("captions"),
        frames=folder_of("status"),
        shards=N_SHARDS,
        benchmarks=BENCHMARKS,
        seed=CONFIG.seed,
    shell:
        "python -m workflow_scripts.collect_metrics"
        " --clip {input.clip:q}"
        " --retrieval {input.retrieval:q}"
        " --captioner {input.captioner:q}"
        " --corpus {params.corpus:q}"
        " --frames {params.frames:q}"
        " --problems {input.problems:q}"
        " --features {input.features:q}"
        " --shards {params.shards}"
        " --benchmarks {params.benchmarks:q}"
        " --metrics {output:q}"
        " --seed {params.seed}"
        " >{log:q} 2>&1"


rule build_report:
    input:
        metrics=f"{RESULTS}/metrics.json",
        captions=CAPTIONS,
        status=STATUS,
        frames_config=frozen("frames") if STATUS else [],
        config=frozen("report"),
        # written by hand, before the run: python -m workflow_scripts.plan
        plan=[PLAN] if Path(PLAN).is_file() else [],
    output:
        f"{RESULTS}/report/index.html",
    log:
        f"{LOGS}/build_report.log",
    benchmark:
        f"{BENCHMARKS}/build_report.tsv"
    conda:
        "../envs/vidloom.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        results=folder_of("metrics"),
        corpus=folder_of("captions"),
        frames=folder_of("status"),
        root=CORPUS_ROOT,
        shards=N_SHARDS,
        benchmarks=BENCHMARKS,
        rules=[each.name for each in workflow.rules],
    shell:
        "python -m workflow_scripts.build_report"
        " --config {input.config:q}"
        " --results {params.results:q}"
        " --corpus {params.corpus:q}"
        " --frames {params.frames:q}"
        " --frames-config {input.frames_config:q}"
        " --root {params.root:q}"
        " --shards {params.shards}"
        " --benchmarks {params.benchmarks:q}"
        " --rules {params.rules}"
        " --plan {input.plan:q}"
        " --report {output:q}"
        " >{log:q} 2>&1"
