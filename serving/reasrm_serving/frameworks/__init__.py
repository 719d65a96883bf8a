"""What RL frameworks call: one file a framework, each answering exactly what that framework's client reads.

All share the judge, its cache and the cohorts. The address that a run is given says how it is treated, in its query (or in headers
`x-cohort`, `x-run`): see `asking.Terms`.
"""

from reasrm_serving.frameworks import native, nemo_gym, openrlhf, slime

ROUTERS = (native.router, openrlhf.router, slime.router, nemo_gym.router)
