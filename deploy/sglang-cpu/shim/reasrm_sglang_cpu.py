"""A plugin of sglang: lets --enable-deterministic-inference run with the torch attention that a CPU has."""


def activate() -> None:
    from sglang.srt import batch_invariant_ops
    from sglang.srt.arg_groups import choices

    choices.DETERMINISTIC_ATTENTION_BACKEND_CHOICES.append("torch_native")
    choices.RADIX_SUPPORTED_DETERMINISTIC_ATTENTION_BACKEND.append("torch_native")
    # This mode swaps in Triton matmuls, which need a GPU; torch's own on one thread do not depend on the load.
    batch_invariant_ops.enable_batch_invariant_mode = lambda *_args, **_kwargs: None
