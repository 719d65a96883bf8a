"""llama.cpp's tokens of texts:   python -m reasrm_training.export.llama_tokens FILE.gguf IN.json OUT.json

IN.json is a list of texts, OUT.json gets a list of lists of tokens. It is a process of its own because llama.cpp ends the process
that gives it a file that it cannot read.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx

CONTEXT = 256  # tokens; nothing is written, so the smallest cache will do


def main(model: str, source: str, target: str) -> None:
    """Tokenise every text of `source` by the model file's vocabulary, with the special tokens that it puts around a text."""
    texts = json.loads(Path(source).read_text(encoding="utf-8"))
    server = _server(model)
    with httpx.Client(base_url=server.listening_address, trust_env=False, timeout=60.0) as client:
        tokens = [
            client.post("/tokenize", json={"content": text, "add_special": True, "parse_special": True}).raise_for_status().json()
            for text in texts
        ]
    Path(target).write_text(json.dumps([reply["tokens"] for reply in tokens]), encoding="utf-8")


def _server(model: str) -> Any:
    xllamacpp: Any = import_module("xllamacpp")  # its module is compiled, and without types
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.hostnames, parameters.port = ["127.0.0.1"], 0
    parameters.n_ctx, parameters.n_parallel, parameters.n_gpu_layers = CONTEXT, 1, 0
    parameters.warmup = parameters.fit_params = False
    parameters.no_extra_bufts = True  # weights stay where the file has them
    return xllamacpp.Server(parameters)


if __name__ == "__main__":
    main(*sys.argv[1:])
