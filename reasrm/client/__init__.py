"""The judge over HTTP: `Judge` is async, `SyncJudge` the same without. Both speak to a reasrm gateway.

    judge.py        `Judge`
    sync_judge.py   `SyncJudge`
    options.py      which options each call takes
    responses.py    what a gateway's answers and refusals mean
    patience.py     how long a busy gateway, or one that is away, is asked again

A judgment that failed is a `Judgment` whose outcome is a `NoVerdict`. What is no single judgment (`rank`, `reward`, `pairs`,
`models`) raises `GatewayError`, with its HTTP status, where the gateway is away, busy or failed. The caller's mistakes raise
`InputError` everywhere; those of the set-up (key, address, certificate, option) its kind `ConfigurationError`.
"""

from reasrm.client.judge import Judge
from reasrm.client.options import JudgeOptions, RankFields, RewardFields, Text, checked, encoded
from reasrm.client.sync_judge import SyncJudge

__all__ = ["Judge", "JudgeOptions", "RankFields", "RewardFields", "SyncJudge", "Text", "checked", "encoded"]
