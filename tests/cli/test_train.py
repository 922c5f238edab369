"""`anygpt train STAGE` hands everything after the stage's name to the stage."""

import pytest
from command_line import Command


@pytest.mark.parametrize("stage", ["encoding-alignment", "decoder-alignment", "modality-switching"])
def test_a_stage_reads_its_own_options(
    anygpt: Command, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        anygpt("train", stage, "--help")
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert "--config" in out and "--resume" in out


def test_a_config_that_is_missing(anygpt: Command) -> None:
    done = anygpt("train", "encoding-alignment", "--config", "none.yaml")
    assert done.code == 2 and done.err.count("\n") == 1 and "none.yaml" in done.err
