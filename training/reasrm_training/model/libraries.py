"""The libraries' own output, which would mix with what a run shows."""

from __future__ import annotations

import logging
import warnings


def quiet() -> None:
    """Keep the bars and notices of transformers, datasets and TRL out of a run that shows its own progress."""
    import datasets
    import transformers

    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", message=r"`(is_)?gradient_checkpointing(_\w+)?` is deprecated", category=FutureWarning)
    warnings.filterwarnings("ignore", message="You are using 'rollout_func'", category=UserWarning)
    # TRL says that it ignores them, and yet loads the reference model by them.
    logging.getLogger("trl.trainer.grpo_trainer").addFilter(lambda record: "model_init_kwargs" not in record.getMessage())
