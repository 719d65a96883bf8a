"""Where a judge is. Every command that needs one, and every scoring job, takes this one model."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from reasrm.messages import Frozen


class JudgeAddress(Frozen):
    """A gateway's `url`, or an `engine` that a prompt pack turns into a judge. Plain data, so that it travels to other hosts."""

    url: str = Field(
        default="http://127.0.0.1:8900", description="The gateway's address.", json_schema_extra={"variable": "REASRM_URL"}
    )
    engine: str | None = Field(
        default=None, description="Judge by this engine directly, without a gateway: an http or https address."
    )
    prompts: str | None = Field(
        default=None,
        description="With --engine: the prompt pack, by name or folder.",
        json_schema_extra={"shown": "the one that fits the model"},
    )
    model: str | None = Field(default=None, description="With --engine: which of the engine's models judges.")
    token: str | None = Field(
        default=None,
        repr=False,
        description="The API key of the gateway or of the engine.",
        json_schema_extra={"variable": "REASRM_TOKEN"},
    )
    timeout_s: float = Field(default=600.0, gt=0, description="Seconds to wait for one answer.")
    ca_file: Path | None = Field(
        default=None,
        description="A PEM file of certificate authorities to trust, for https with a private certificate.",
        json_schema_extra={"variable": "SSL_CERT_FILE"},
    )
