"""The names that `import reasrm` exports, listed here: adding or removing a name is a decision, not an accident."""

import tomllib

import reasrm
from tests.components import ROOT

EXPORTS = [
    "Judge",
    "Judgment",
    "Message",
    "NoVerdict",
    "Options",
    "Pair",
    "Ranking",
    "ReasrmError",
    "SyncJudge",
    "Verdict",
    "__version__",
]


def test_the_library_exports_what_is_written_here() -> None:
    assert sorted(reasrm.__all__) == EXPORTS


def test_every_exported_name_is_there_and_documented() -> None:
    for name in EXPORTS:
        exported = getattr(reasrm, name)
        assert isinstance(exported, str) or exported.__doc__, name


def test_the_version_is_the_same_everywhere() -> None:
    assert reasrm.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
