"""What the DAG is decided by, as files: a config section, an encoder.

Each is written anew only when its value changes: editing a comment, or another section, reruns nothing.
"""


localrules:
    freeze_config,
    freeze_encoder,


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
