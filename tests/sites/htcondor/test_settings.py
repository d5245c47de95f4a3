"""Settings of HTCondor sites.

What is wrong is said with the setting's name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from uws_service.sites.htcondor.settings import HTCondorSite


def site(tmp_path: Path, **changes: Any) -> HTCondorSite:
    values = {
        "name": "alpha",
        "kind": "htcondor",
        "collector": "cm.example.org:9618",
        "tokens": tmp_path / "tokens",
        "agent_url": "https://uws.example.org/",
        **changes,
    }
    return HTCondorSite(**values)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"collector": "http://cm.example.org"}, "HOST:PORT"),
        ({"collector": ""}, "HOST:PORT"),
        ({"tokens": None}, "one of `tokens` and `scitoken`"),
        ({"agent_url": "uws.example.org"}, "must be a URL"),
        ({"agent_url": "https://user:secret@uws.example.org"}, "without a user"),
        ({"python": "python3"}, "python"),
        ({"container": "apptainer"}, "container"),
        ({"accounting_group": "group uws"}, "accounting_group"),
        ({"requirements": "(HasSingularity"}, "brackets or quotes"),
        ({"submit": {"Requirements": "true"}}, "given by the service itself"),
        ({"submit": {"+UwsAttempt": '"x"'}}, "given by the service itself"),
        ({"submit": {"queue 5": ""}}, "no command of a submit description"),
        ({"submit": {"rank": "1\nqueue 5"}}, "no command of a submit description"),
        ({"configuration": {"lower": "x"}}, "no setting of HTCondor"),
        ({"margin": 0}, "margin"),
        ({"universe": "docker"}, "universe"),
    ],
)
def test_wrong_settings(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as problem:
        site(tmp_path, **changes)
    assert words in str(problem.value)


def test_configuration_of_the_library(tmp_path: Path) -> None:
    """Encrypted and authenticated whatever the machine's own configuration says; the operator has the last word."""
    values = site(tmp_path, scitoken=tmp_path / "token", configuration={"SEC_DEFAULT_INTEGRITY": "OPTIONAL"})
    configuration = values.library_configuration()
    assert configuration["SEC_CLIENT_AUTHENTICATION_METHODS"] == "SCITOKENS, IDTOKENS"
    assert (
        configuration["SEC_DEFAULT_ENCRYPTION"] == "REQUIRED" and configuration["SEC_DEFAULT_INTEGRITY"] == "OPTIONAL"
    )
    assert configuration["SCITOKENS_FILE"] == str(tmp_path / "token")


def test_tokens_that_the_library_would_leave_out(tmp_path: Path) -> None:
    alpha = site(tmp_path)
    assert "there is no folder" in alpha.problem()
    (tmp_path / "tokens").mkdir()
    assert "has no token" in alpha.problem()
    token = tmp_path / "tokens" / "alpha"
    token.write_text("x")
    token.chmod(0o644)
    assert "others can read" in alpha.problem()
    token.chmod(0o600)
    assert alpha.problem() == ""
    assert "there is no file" in site(tmp_path, tokens=None, scitoken=tmp_path / "absent").problem()
