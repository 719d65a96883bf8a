"""The routes of RL frameworks, one file for each: it answers exactly what that framework's client reads.

All share the judge, its cache and the cohorts. The query parameters of a run's address set its options: see
`query.RewardQuery`.
"""

from fastapi import APIRouter

from reasrm_serving.frameworks import chat_completions, genrm_model, llama_factory, native, nemo_gym, openrlhf, slime

#: NeMo Gym puts the rollout's id in front of the path when its observability is on.
_prefixed = APIRouter(prefix="/ng-rollout/{rollout_id}", include_in_schema=False)
_prefixed.include_router(nemo_gym.router)
_prefixed.include_router(genrm_model.router)

ROUTERS = (
    native.router,
    openrlhf.router,
    slime.router,
    nemo_gym.router,
    genrm_model.router,
    chat_completions.router,
    llama_factory.router,
    _prefixed,
)
