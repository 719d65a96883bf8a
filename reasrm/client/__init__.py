"""The judge over HTTP: `Judge` is async, `SyncJudge` the same without. Both speak to a reasrm gateway.

    judge.py        `Judge`
    sync_judge.py   `SyncJudge`
    options.py      which options each call takes
    responses.py    what a gateway's answers and refusals mean
    patience.py     how long the client retries a gateway that is busy or away

A judgment that failed is a `Judgment` whose outcome is a `NoVerdict`. Methods that return more than one judgment (`rank`, `reward`,
`pairs`, `models`) raises `GatewayError`, with its HTTP status, where the gateway is away, busy or failed. The caller's mistakes
raise `InputError` everywhere; mistakes in the set-up (key, address, certificate, option) raise its subclass `ConfigurationError`.
"""

from reasrm.client.judge import Judge
from reasrm.client.options import JudgeOptions, RankFields, RewardFields, Text, checked, encoded
from reasrm.client.sync_judge import SyncJudge

__all__ = ["Judge", "JudgeOptions", "RankFields", "RewardFields", "SyncJudge", "Text", "checked", "encoded"]
