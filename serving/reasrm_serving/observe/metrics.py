"""The metrics of a gateway for Prometheus. Dashboards and alerts use these names."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from reasrm.types import Judgment, Verdict

disable_created_metrics()  # the creation times double the page, and no dashboard uses them
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_TENTHS = tuple(tenth / 10 for tenth in range(1, 11))


class Metrics:
    """The counters of one gateway, in a registry of its own.

    `pace_s` is how long one judgment takes, in seconds, where later ones weigh more; None before the first.
    """

    def __init__(self) -> None:
        self.pace_s: float | None = None
        own = self.registry = CollectorRegistry()
        ProcessCollector(registry=own)
        self.requests = Counter("reasrm_requests", "Requests answered", ["route", "status"], registry=own)
        self.judgments = Counter(
            "reasrm_judgments", "Judgments given, by winner or by the reason why there is none", ["outcome", "cached"], registry=own
        )
        self.seconds = Histogram("reasrm_judgment_seconds", "From request to judgment", ["cached"], buckets=_SECONDS, registry=own)
        self.probability = Histogram("reasrm_probability_a", "P(A) of new verdicts", buckets=_TENTHS, registry=own)
        self.sources = Counter(
            "reasrm_verdicts",
            "New verdicts by the source of P(A): logprobs, votes, or forced from a reply without an answer",
            ["source"],
            registry=own,
        )
        self.consistent = Counter("reasrm_order_consistency", "New judgments in both orders", ["consistent"], registry=own)
        self.tokens = Counter("reasrm_engine_tokens", "Tokens that went through the engine", ["kind"], registry=own)
        self.cache = Counter("reasrm_cache", "Where judgments were looked for and found", ["result"], registry=own)
        self.cache_errors = Counter("reasrm_cache_errors", "Redis commands that failed", registry=own)
        self.cohorts = Counter("reasrm_cohorts", "Cohorts ranked: full, partial (at the deadline) or lone", ["end"], registry=own)
        self.rollouts_sent_back = Counter(
            "reasrm_rollouts_sent_back", "Waiting rollouts that were asked to come again (an early 503)", registry=own
        )
        self.rewards = Counter(
            "reasrm_rewards", "Rewards given to RL frameworks: judged, or the reason why not", ["contract", "outcome"], registry=own
        )
        self.prompts = Counter(
            "reasrm_prompts_read",
            "Prompts of RL frameworks: read, or unknown (control tokens of no known chat template)",
            ["contract", "form"],
            registry=own,
        )
        self.engine_failures = Counter("reasrm_engine_failures", "Requests that an engine failed", ["engine"], registry=own)
        self.engine_retries = Counter("reasrm_engine_retries", "Requests that were made to an engine once more", registry=own)
        self._circuits = Gauge(
            "reasrm_engine_circuit_open", "Whether an engine gets no requests until it answers again", ["engine"], registry=own
        )
        self.coalesced = Counter("reasrm_coalesced", "Requests that joined equal work in flight", ["where"], registry=own)

    def answered(self, route: str, status: int) -> None:
        """Count an answer."""
        self._answers(route, status).inc()

    @cache  # noqa: B019 - a handful of labels, and metrics live as long as the process
    def _answers(self, route: str, status: int) -> Counter:
        return self.requests.labels(route, str(status))

    def cohort_ended(self, end: str) -> None:
        """Count a cohort."""
        self.cohorts.labels(end).inc()

    def sent_back(self, run: str) -> None:
        """Count a rollout that was asked to come again."""
        self.rollouts_sent_back.inc()

    def prompt_read(self, framework: str, *, known: bool) -> None:
        """Count a framework's prompt, and whether it is of a known form."""
        self.prompts.labels(framework, "read" if known else "unknown").inc()

    def gauge(self, name: str, help_: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(name, help_, registry=self.registry).set_function(value)

    def circuit(self, engine: str, is_open: Callable[[], bool]) -> None:
        """Add a gauge for the circuit of `engine`."""
        self._circuits.labels(engine).set_function(is_open)

    def gave(self, label: str, seconds: float, *, cached: bool) -> None:
        """Count a judgment given to a caller; `label` is its winner, or the reason why it has none."""
        judgments, times = self._given(label, "true" if cached else "false")
        judgments.inc()
        times.observe(seconds)

    @cache  # noqa: B019 - a handful of labels, and metrics live as long as the process
    def _given(self, label: str, cached: str) -> tuple[Counter, Histogram]:
        return self.judgments.labels(label, cached), self.seconds.labels(cached)

    def made(self, judgment: Judgment) -> None:
        """Count the cost of a new judgment and whether its orders agree, and learn how long one takes."""
        before = judgment.seconds if self.pace_s is None else self.pace_s
        self.pace_s = 0.8 * before + 0.2 * judgment.seconds
        usage = judgment.usage
        self.tokens.labels("prompt").inc(usage.prompt_tokens)
        self.tokens.labels("completion").inc(usage.completion_tokens)
        self.tokens.labels("prefix_cached").inc(usage.cached_tokens)
        if isinstance(judgment.outcome, Verdict):
            self.probability.observe(judgment.outcome.probability_a)
            self.sources.labels(judgment.outcome.source).inc()
        if judgment.order_consistent is not None:
            self.consistent.labels("true" if judgment.order_consistent else "false").inc()
