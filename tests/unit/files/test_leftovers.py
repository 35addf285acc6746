"""Jobs of a killed run: which they are, and that nothing starts before they are gone."""

import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.leftovers import end_left_jobs

RUN = "1f0a4bd2-93c5-4b80-8a60-a3d2a1c0ffee"

# A queue of a file, from which a cancelled job goes with the next look but one, as SLURM takes its time.
SQUEUE = """#!/bin/sh
echo "$@" >>{folder}/asked
cat {folder}/queue
if [ -e {folder}/ending ]; then rm {folder}/ending; elif [ -e {folder}/cancelled ]; then : >{folder}/queue; fi
"""
SCANCEL = """#!/bin/sh
echo "$@" >>{folder}/cancelled
touch {folder}/ending
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
        (programs / name).write_text(text.format(folder=tmp_path))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return tmp_path


def queue(folder, *jobs):
    (folder / "queue").write_text("".join("\t".join(map(str, job)) + "\n" for job in jobs))


def test_the_runs_jobs_in_this_folder_end_and_no_others(slurm, capsys):
    here = slurm / "here"
    here.mkdir()
    (slurm / "link").symlink_to(here)
    queue(
        slurm,
        (11, RUN, here),
        (12, f"mine_{RUN}", slurm / "link"),
        (11, RUN, here),  # another task of the same array
        (13, RUN, slurm / "elsewhere"),
        (14, "jupyter", here),
    )
    end_left_jobs(here, local=False)
    assert (slurm / "cancelled").read_text() == "11 12\n"
    assert "jobs 11 12" in capsys.readouterr().err
    assert (slurm / "queue").read_text() == ""  # it has waited


def test_nothing_left(slurm, capsys):
    queue(slurm)
    end_left_jobs(slurm, local=False)
    assert not (slurm / "cancelled").exists() and capsys.readouterr().err == ""


def test_jobs_that_do_not_end_stop_the_run(slurm):
    queue(slurm, (11, RUN, slurm))
    (slurm / "programs/scancel").write_text("#!/bin/sh\n")
    with pytest.raises(UserError, match="SLURM jobs 11 of an earlier run"):
        end_left_jobs(slurm, local=False, patience_s=0)


def test_a_slurm_that_does_not_answer_is_told_of(slurm, capsys):
    (slurm / "programs/squeue").write_text("#!/bin/sh\necho no controller >&2; exit 1\n")
    end_left_jobs(slurm, local=False)
    assert "no controller" in capsys.readouterr().err


def test_a_job_that_has_just_ended_is_no_reason_not_to_wait_for_the_others(slurm):
    queue(slurm, (11, RUN, slurm))
    program = slurm / "programs/scancel"
    program.write_text(program.read_text() + "echo Invalid job id specified >&2; exit 1\n")
    end_left_jobs(slurm, local=False)
    assert (slurm / "queue").read_text() == ""


def test_a_busy_slurm_is_asked_again_while_jobs_end(slurm):
    """The one answer that fails is that after the cancelling."""
    queue(slurm, (11, RUN, slurm))
    program = slurm / "programs/squeue"
    told = program.read_text()
    busy = f"[ -e {slurm}/cancelled ] && mkdir {slurm}/busy 2>/dev/null && exit 1\n"
    program.write_text(told.replace("#!/bin/sh\n", "#!/bin/sh\n" + busy))
    end_left_jobs(slurm, local=False)
    assert (slurm / "busy").exists() and (slurm / "queue").read_text() == ""
    (slurm / "programs/squeue").write_text(
        told.replace("#!/bin/sh\n", f"#!/bin/sh\n[ -e {slurm}/cancelled ] && exit 1\n")
    )
    (slurm / "cancelled").unlink()
    queue(slurm, (12, RUN, slurm))
    with pytest.raises(UserError, match="SLURM jobs 12 of an earlier run"):
        end_left_jobs(slurm, local=False, patience_s=0)


def test_a_local_run_asks_where_one_under_slurm_was_before(slurm):
    queue(slurm)
    end_left_jobs(slurm, local=True)
    assert not (slurm / "asked").exists()
    end_left_jobs(slurm, local=False)
    end_left_jobs(slurm, local=True)
    assert len((slurm / "asked").read_text().splitlines()) == 2


def test_without_slurm(slurm, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(slurm))
    end_left_jobs(slurm, local=False)
    assert capsys.readouterr().err == ""
