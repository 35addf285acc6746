"""The pipeline's commands: one module a rule, named as the rule is.

Each runs by hand as `python -m workflow_scripts.<rule> --help` shows; what is worth
testing lives in `workflow_scripts.lib.<stage>`.
"""
