"""The header of a GGUF file: what the model is, and whether the file is whole."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from reasrm_serving.settings import EMBEDDED

from reasrm.errors import InputError
from reasrm.launch import read_gguf
from reasrm.launch.digest import version_of
from tests.real_models import smollm2

JUDGE = EMBEDDED / "model.gguf"


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def write(path: Path, metadata: dict[str, str], *, tensors: int = 0) -> Path:
    """A GGUF file with texts as metadata and no tensors."""
    pairs = b"".join(text(key) + struct.pack("<I", 8) + text(value) for key, value in metadata.items())
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, len(metadata)) + pairs + bytes(64))
    return path


def test_the_judge_that_comes_with_reasrm_says_what_it_is() -> None:
    judge = read_gguf(JUDGE)
    assert (judge.name, judge.judge, judge.pack, judge.context) == ("tiny", True, "world", 4096)
    assert judge.cache_bytes == 3 * 4 * (32 + 32) * 2
    assert judge.size == JUDGE.stat().st_size


def test_a_model_of_others_has_the_name_of_its_file() -> None:
    model = read_gguf(smollm2())
    assert (model.name, model.judge, model.pack, model.context) == ("SmolLM2-135M-Instruct.Q4_1", False, None, 8192)
    assert model.cache_bytes == 30 * 3 * 128 * 2
    assert "system" in (model.chat_template or "")


@pytest.mark.parametrize("share", [0.001, 0.01, 0.5, 0.9999])
def test_a_file_that_is_cut_short_is_refused_wherever_it_ends(tmp_path: Path, share: float) -> None:
    data = JUDGE.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"cut\.gguf is cut short.*again"):
        read_gguf(path)


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 a zip file"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.gguf is no GGUF file"):
        read_gguf(tmp_path / "x.gguf")


def test_a_version_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 99, 0, 0))
    with pytest.raises(InputError, match="damaged"):
        read_gguf(tmp_path / "x.gguf")


def test_all_parts_of_a_model_must_be_there(tmp_path: Path) -> None:
    first = write(tmp_path / "m-00001-of-00002.gguf", {"general.architecture": "llama"})
    with pytest.raises(InputError, match=r"cannot read .*m-00002-of-00002\.gguf"):
        read_gguf(first)
    write(tmp_path / "m-00002-of-00002.gguf", {})
    assert len(read_gguf(first).parts) == 2


def test_a_version_changes_with_every_file_and_argument(tmp_path: Path) -> None:
    one, other, state = tmp_path / "one", tmp_path / "other", tmp_path / "state"
    one.write_text("1")
    other.write_text("2")
    before = version_of([one, other], state)
    assert version_of([one, other], state) == before == version_of([one, other], tmp_path / "elsewhere")
    assert version_of([one, other], state, more=["n_gpu_layers=0"]) != before
    other.write_text("3")
    assert version_of([one, other], state) != before


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_text("x" * 100)
    about, before = file.stat(), version_of([file], tmp_path)
    file.write_text("y" * 100)
    assert version_of([file], tmp_path / "elsewhere") != before
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert version_of([file], tmp_path) == before


def test_a_state_folder_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    (tmp_path / "model").write_text("1")
    assert version_of([tmp_path / "model"], tmp_path / "state")
