"""The model that is trained: its weights, its tokenizer, its devices, the processes that train it, and an SGLang that serves it."""

import os

# TRL and the hub client report usage to the hub. Set here, as they read it when they are imported; a training run is private.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
