"""A plugin of sglang: its torch attention, the one that a CPU has, in deterministic mode and without its slowest line."""


def activate() -> None:
    from sglang.srt import batch_invariant_ops
    from sglang.srt.arg_groups import choices
    from sglang.srt.layers.attention.torch_native_backend import TorchNativeAttnBackend

    choices.DETERMINISTIC_ATTENTION_BACKEND_CHOICES.append("torch_native")
    choices.RADIX_SUPPORTED_DETERMINISTIC_ATTENTION_BACKEND.append("torch_native")
    # This mode swaps in Triton matmuls, which need a GPU; torch's own on one thread do not depend on the load.
    batch_invariant_ops.enable_batch_invariant_mode = lambda *_args, **_kwargs: None
    TorchNativeAttnBackend._run_sdpa_forward_decode = _decode(TorchNativeAttnBackend._run_sdpa_forward_decode)


def _decode(original):
    """Attention of one new token a request. sglang gathers keys and values by advanced indexing, which on a CPU takes four fifths
    of a step over prompts of 1,000 tokens; `index_select` copies whole rows, four times as fast, and gives the same bits.
    """
    from torch.nn.functional import scaled_dot_product_attention

    def decode(self, query, output, k_cache, v_cache, req_to_token, req_pool_indices, seq_lens, encoder_lens=None, **more):
        window = more.get("sliding_window_size")
        if encoder_lens is not None or window is not None or not query.dtype == k_cache.dtype == v_cache.dtype:
            return original(self, query, output, k_cache, v_cache, req_to_token, req_pool_indices, seq_lens, encoder_lens, **more)
        for i, (request, length) in enumerate(zip(req_pool_indices.tolist(), seq_lens.tolist(), strict=True)):
            places = req_to_token[request, :length]
            keys, values = (cache.index_select(0, places).transpose(0, 1).unsqueeze(0) for cache in (k_cache, v_cache))
            output[i] = scaled_dot_product_attention(
                query[i, None, :, None], keys, values, scale=more["scaling"], enable_gqa=more["enable_gqa"]
            )[0, :, 0]
        return output

    return decode
