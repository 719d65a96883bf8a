"""How a pair is judged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from reasrm.messages import Frozen


class Options(Frozen):
    """How to judge. `votes` > 1 samples that many replies; with both orders each order's votes weigh the same.

    `orders`: "both" reads the pair in both orders (votes alternate); "ab" only as given.
    `deliberation`: a reply's beginning (type and rubric or solution) that every reply continues from.
    `reuse`: replies about one question continue the deliberation of the first reply; None leaves that to the prompt pack.
    `reasoning`: "off" reads the verdict without any reasoning, from the log-odds of the two letters (one token per order); None
    leaves that to the prompt pack. `forced`: a reply that ends without an answer is continued at the answer tag.
    `split_band`: where the orders contradict each other and P(A) is within this distance of 0.5, there is no verdict.
    """

    orders: Literal["ab", "both"] = Field(default="both", description="both reads the pair in both orders, ab only as given.")
    votes: int = Field(default=1, ge=1, le=64, description="Sample this many replies and count them.")
    temperature: float = Field(
        default=0.0, ge=0.0, le=2.0, description="Temperature of the replies; 0 is greedy, and more than one vote needs more."
    )
    top_p: float = Field(default=1.0, gt=0.0, le=1.0, description="Nucleus of the sampled tokens.")
    max_tokens: int = Field(default=2048, ge=1, le=65536, description="Longest reply in tokens.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of sampled replies.")
    deliberation: str | None = Field(
        default=None, description="The beginning of a reply (type and rubric or solution), which every reply continues."
    )
    reuse: bool | None = Field(
        default=None,
        description="Whether replies about one question continue the first one's deliberation; null leaves it to the prompt pack.",
    )
    reasoning: Literal["on", "off"] | None = Field(
        default=None,
        description="off reads the verdict without any reasoning, by one token per order; null leaves it to the prompt pack.",
    )
    forced: bool = Field(
        default=True, description="Whether a reply that ends without an answer is continued at the answer tag to get one."
    )
    split_band: float = Field(
        default=0.1,
        ge=0.0,
        le=0.25,
        description="Where the orders contradict each other and P(A) is within this distance of 0.5, there is no verdict.",
    )

    @model_validator(mode="after")
    def _votes_differ(self) -> Options:
        if self.votes > 1 and self.temperature == 0.0:
            raise ValueError("votes > 1 needs temperature > 0: greedy votes are all the same")
        if self.votes > 1 and self.reasoning == "off":
            raise ValueError('votes > 1 needs reasoning: with reasoning "off" every vote is the same')
        return self
