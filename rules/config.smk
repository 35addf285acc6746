"""What the DAG is decided by, as files: a config section, an encoder.

Each is written anew only when its value changes: editing a comment, or another section, reruns nothing.
"""


localrules:
    freeze_config,
    freeze_encoder,
    freeze_side,


rule freeze_config:
    output:
        "{place}/config/{section}.yaml",
    log:
        f"{LOGS}/freeze_config/{{place}}/{{section}}.log",
    conda:
        "../envs/vidloom.yaml"
    params:
        text=lambda wildcards: freeze_named(CONFIG, wildcards.section),
    shell:
        "printf %s {params.text:q} >{output:q} 2>{log:q}"


rule freeze_encoder:
    # An encoder's own part of the config, for people and for verify_features.
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


rule freeze_side:
    # What of it decides about the features of frames, or of captions: other keys of it make none of them again.
    output:
        "{features}/{encoder}/encoder_{side}.yaml",
    log:
        f"{LOGS}/freeze_side/{{features}}/{{encoder}}/{{side}}.log",
    conda:
        "../envs/vidloom.yaml"
    params:
        text=lambda wildcards: freeze_side(
            CONFIG.features.encoder(wildcards.encoder), wildcards.side
        ),
    shell:
        "printf %s {params.text:q} >{output:q} 2>{log:q}"
