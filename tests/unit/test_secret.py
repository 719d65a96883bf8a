"""The secret behind the fences: made once, readable by its owner only, and never lost in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from reasrm.prompts import fence_key
from reasrm.prompts.secret import SECRET_FILE, key_of_secret


def test_the_fence_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REASRM_FENCE_SECRET", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    first = fence_key()
    assert fence_key() == first
    assert len(first) == 32
    assert (tmp_path / "reasrm" / SECRET_FILE).stat().st_mode & 0o777 == 0o600


def test_a_given_secret_goes_before_the_stored_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASRM_FENCE_SECRET", "given")
    assert fence_key() == key_of_secret("given") != key_of_secret("another")


def test_a_secret_that_cannot_be_kept_is_announced_and_stays_one_for_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("REASRM_FENCE_SECRET", raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert fence_key() == fence_key()
    assert "cannot keep the fence secret" in caplog.text


def test_a_secret_in_a_file_is_the_same_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REASRM_FENCE_SECRET", raising=False)
    (tmp_path / "secret").write_text("given\n")
    monkeypatch.setenv("REASRM_FENCE_SECRET_FILE", str(tmp_path / "secret"))
    assert fence_key() == key_of_secret("given")
