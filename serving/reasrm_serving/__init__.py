"""The gateway: judgments over HTTP, before SGLang or any OpenAI-compatible engine."""
