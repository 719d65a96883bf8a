"""The benchmarks of reward models, one file each: pure functions from judged rows to the published table."""

from reasrm.benchmarks import judgebench, ppe, rewardbench, rewardbench2, rm_bench, rmb
from reasrm.benchmarks.common import BOTH, RM_R1, Benchmark, Protocol, Score

BENCHMARKS: dict[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK for module in (rewardbench, rewardbench2, rm_bench, rmb, judgebench, ppe)
}

__all__ = ["BENCHMARKS", "BOTH", "RM_R1", "Benchmark", "Protocol", "Score"]
