"""What can be checked of all shards at once, before any is read: that they are there, of one encoder, and complete."""

import json

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.index import ShardSummary, summarize
from workflow_scripts.lib.features.layout import SIDE_OF
from workflow_scripts.lib.features.made_by import parsed, refuse_other_encoder
from workflow_scripts.lib.features.reading.locate import Located


def survey(located: Located) -> list[ShardSummary]:
    """A summary of each shard; UserError names the one that is wrong, or the meta that does not fit them."""
    summaries: list[ShardSummary] = []
    for file in located.files:
        summary = summarize(file)
        if summaries:
            refuse_other_encoder(file, summary.encoder, located.files[0], summaries[0].encoder)
            summary = ShardSummary(summary.rows, summaries[0].encoder, summary.digest)  # one text for all
        summaries.append(summary)
    if located.meta:
        _compare_with_meta(located, summaries)
    return summaries


def _compare_with_meta(located: Located, summaries: list[ShardSummary]) -> None:
    meta, file = located.meta, located.meta_file
    if meta.encoder is not None and summaries and parsed(summaries[0].encoder) != meta.encoder:
        refuse_other_encoder(located.files[0], summaries[0].encoder, file, json.dumps(meta.encoder))
    found = sum(summary.rows for summary in summaries)
    # An encoder may keep no visual tokens: then their shards, which the same meta tells of, are empty.
    if found != meta.total and not (found == 0 and located.kind != SIDE_OF[located.kind]):
        raise UserError(
            f"{file}: `total` is {meta.total}, but the {len(summaries)} {located.kind} shards hold {found} keys; run the"
            " step that makes them again, or correct the file"
        )
