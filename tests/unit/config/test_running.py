"""Keys that say how a job runs, from a section to a command line and back."""

import argparse
import shlex
from typing import ClassVar, Literal

import pytest
from pydantic import Field

from workflow_scripts.lib.config_types import Count, Positive, Section, Share, Text
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.running import add_running_arguments, running_flags, with_running_arguments


class Job(Section):
    epochs: Positive = 1
    workers: Count = 2
    """Processes: 100 % of the cores."""
    share: Share | None = 0.25
    note: Text = "a note"
    project: Text | None = None
    places: list[Literal["here", "over there"]] = Field(default_factory=lambda: ["here"])
    checkpointing: bool = True
    compile: bool = False

    RUNNING: ClassVar = ("workers", "share", "note", "project", "places", "checkpointing", "compile")


OTHERS = [
    {"workers": 0, "share": 0.1, "project": "o'한", "places": ["over there", "here"], "checkpointing": False},
    {"workers": 10**6, "share": 1e-7, "note": "-1", "project": "--workers", "compile": True},
    {"share": None, "note": "", "project": None, "places": []},
    {},
]


def read(section, words):
    parser = argparse.ArgumentParser()
    add_running_arguments(parser, Job, Job.RUNNING)
    arguments = parser.parse_args(words)
    arguments.config = "job.yaml"
    return with_running_arguments(section, Job.RUNNING, arguments)


@pytest.mark.parametrize("values", OTHERS)
@pytest.mark.parametrize("file", OTHERS)
def test_flags_take_the_place_of_what_the_file_says(values, file):
    section = Job(epochs=3, **values)
    found = read(Job(epochs=3, **file), shlex.split(running_flags(section, Job.RUNNING)))
    assert found == section and type(found.workers) is int


@pytest.mark.parametrize("file", OTHERS)
def test_a_flag_that_is_not_given_leaves_the_key_as_it_is(file):
    section = Job(**file)
    assert read(section, []) == section
    assert read(section, ["--workers", "7"]) == section.model_copy(update={"workers": 7})
    assert read(section, ["--no-checkpointing"]).checkpointing is False
    assert read(section, ["--compile"]).compile is True


def test_what_nobody_wrote_stays_unset():
    assert read(Job(workers=1), ["--note", "x"]).model_fields_set == {"workers", "note"}


def test_flags_are_words_of_a_shell_in_the_order_of_the_keys():
    assert running_flags(Job(note="two words"), ("compile", "workers", "note")) == (
        " --no-compile --workers=2 '--note=two words'"
    )


def test_only_what_somebody_wrote():
    written = Job(epochs=2, workers=2, places=[], compile=False)
    assert running_flags(written, Job.RUNNING, only_set=True) == " --workers=2 --places --no-compile"
    assert running_flags(Job(), Job.RUNNING, only_set=True) == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "-1"], "workers: .*greater than or equal to 0.*-1"),
        (["--workers", "two"], "workers: a number is needed here.*two"),
        (["--workers", ""], "workers: a number is needed here"),
        (["--places", "nowhere"], r"places\.0: .*nowhere"),
    ],
)
def test_what_the_section_would_not_allow(words, said):
    with pytest.raises(UserError, match=f"^job.yaml with the flags given: config: {said}"):
        read(Job(), words)


def test_help_tells_what_a_key_is(capsys):
    with pytest.raises(SystemExit):
        read(Job(), ["--help"])
    assert "Processes: 100 % of the cores. (default: the file's, or 2)" in " ".join(
        capsys.readouterr().out.split()
    )
