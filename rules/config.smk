"""What the DAG is decided by, as files: a config section, an encoder, the digest of a shard's annotations.

Each is written anew only when its value changes: editing a comment, or another section, reruns nothing.
"""


localrules:
    freeze_config,
    freeze_encoder,
    freeze_shard,


rule freeze_config:
    output:
        "{place}/config/{section}.yaml",
    log:
        f"{LOGS}/freeze_config/{{place}}/{{section}}.log",
    conda:
        "../envs/vidloom.yaml"
    params:
        text=lambda wildcards: freeze(getattr(CONFIG, wildcards.section)),
    shell:
        "printf %s {params.text:q} >{output:q} 2>{log:q}"


rule freeze_encoder:
    # An encoder's own part of the config, so that editing one leaves the features of the others alone.
    output:
        "{features}/{encoder}/encoder.yaml",
    log:
        f"{LOGS}/freeze_encoder/{{features}}/{{encoder}}.log",
    conda:
        "../envs/vidloom.yaml"
    params:
        text=lambda wildcards: freeze(CONFIG.features.encoder(wildcards.encoder)),
    shell:
        "printf %s {params.text:q} >{output:q} 2>{log:q}"


rule freeze_shard:
    # Apart from corpus_shard, because Snakemake does not look at the params of a job whose ancient input is made anew.
    output:
        f"{RESOURCES}/corpus/.digest_{{shard}}.txt",
    log:
        f"{LOGS}/freeze_shard/{{shard}}.log",
    conda:
        "../envs/vidloom.yaml"
    params:
        digest=lambda wildcards: SHARD_DIGESTS[int(wildcards.shard)],
    shell:
        "printf %s {params.digest:q} >{output:q} 2>{log:q}"
