"""A model folder as one GGUF file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import gguf
import numpy as np

from reasrm.errors import InputError
from reasrm.prompts import load_pack
from reasrm_training.export.agreement import check_tokens
from reasrm_training.export.architecture import (
    Array,
    ModelConfig,
    TensorForm,
    add_architecture,
    architecture_name,
    model_config,
)
from reasrm_training.export.vocabulary import add_vocabulary, read_tokenizer
from reasrm_training.model.loading import ADAPTER, weights_digest

Precision = Literal["f32", "f16", "q8_0"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_TYPES = {"f32": gguf.GGMLQuantizationType.F32, "f16": gguf.GGMLQuantizationType.F16, "q8_0": gguf.GGMLQuantizationType.Q8_0}
_FILE_TYPES = {"f32": gguf.LlamaFileType.ALL_F32, "f16": gguf.LlamaFileType.MOSTLY_F16, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}
OUTPUT = "lm_head.weight"  # transformers' name of the output layer
PASSED_OVER = ".rotary_emb.inv_freq"  # old checkpoints hold these numbers, which follow from config.json


def write_gguf(folder: Path, out: Path | None = None, precision: Precision = "f16") -> tuple[Path, int]:
    """Write the model in `folder` to `out` (FOLDER/model.gguf otherwise), and return the file and the number of checked texts.

    Matrices get `precision`, and norms and biases stay f32; a matrix whose rows q8_0 cannot divide gets f16. llama.cpp reads the
    file before it gets its name. Raises `InputError` for a folder that cannot be written, or whose tokens llama.cpp cuts otherwise.
    """
    raw = _config_in(folder)
    config, tokenizer = model_config(folder, raw), read_tokenizer(folder)
    out = out or folder / "model.gguf"
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    try:
        _write(folder, partial, config, tokenizer, precision)
        checked = check_tokens(folder, partial, tokenizer)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return out, checked


def _config_in(folder: Path) -> dict[str, Any]:
    if (folder / ADAPTER).is_file():
        raise InputError(f"{folder} holds an adapter without its model: merge it first (export.merge = true in the recipe)")
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"no model in {folder}: it has no config.json") from None
    except ValueError as error:
        raise InputError(f"{folder / 'config.json'} is not JSON: {error}") from None


def _write(folder: Path, file: Path, config: ModelConfig, tokenizer: dict[str, Any], precision: Precision) -> None:
    writer = gguf.GGUFWriter(file, architecture_name(config))
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_file_type(_FILE_TYPES[precision])
    add_architecture(writer, config)
    add_vocabulary(writer, folder, tokenizer, config.vocab_size)
    _add_judge(writer, folder)
    form = TensorForm(config)
    with _tensors(folder, config) as tensors:
        for name, (shape, _) in tensors.items():
            kind = _type(shape, precision)
            size = gguf.quant_shape_to_byte_shape(shape, kind)
            writer.add_tensor_info(form.name(name), size, np.dtype(np.uint8), int(np.prod(size)), kind)
        for name, values in form.added().items():
            writer.add_tensor_info(name, values.shape, values.dtype, values.nbytes)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, (shape, load) in tensors.items():
            writer.write_tensor_data(gguf.quants.quantize(form.values(name, load()), _type(shape, precision)))
        for values in form.added().values():
            writer.write_tensor_data(values)
    writer.close()


def _add_judge(writer: gguf.GGUFWriter, folder: Path) -> None:
    """The model's name; for a judge that reasrm trained also its prompts, and its weights as its evaluation names them."""
    recipe = folder / "recipe.json"
    if not recipe.is_file():
        writer.add_name(folder.resolve().name)
        return
    writer.add_name(str(json.loads(recipe.read_text(encoding="utf-8"))["name"]))
    writer.add_bool("reasrm.judge", True)
    writer.add_string("reasrm.weight_version", weights_digest(folder))
    if (folder / "prompts").is_dir():
        pack = load_pack(folder / "prompts")
        writer.add_string("reasrm.pack", pack.name)
        writer.add_string("reasrm.pack_digest", pack.digest)


def _type(shape: tuple[int, ...], precision: Precision) -> gguf.GGMLQuantizationType:
    """The type of a tensor of this shape: one row is a norm or a bias."""
    if len(shape) < 2:
        return gguf.GGMLQuantizationType.F32
    block, _ = gguf.GGML_QUANT_SIZES[_TYPES[precision]]
    return _TYPES[precision] if shape[-1] % block == 0 else gguf.GGMLQuantizationType.F16


_Tensors = dict[str, tuple[tuple[int, ...], Callable[[], Array]]]


@contextmanager
def _tensors(folder: Path, config: ModelConfig) -> Iterator[_Tensors]:
    """Shape and loader (as float32) of each tensor of all files of a folder, one loaded at a time."""
    from contextlib import ExitStack

    import torch
    from safetensors import safe_open

    def loader(file: Any, name: str) -> Callable[[], Array]:
        return lambda: file.get_tensor(name).to(torch.float32).numpy()

    tensors: _Tensors = {}
    with ExitStack() as stack:
        for path in sorted(folder.glob("*.safetensors")):
            file: Any = stack.enter_context(safe_open(path, framework="pt"))
            for name in file.keys():  # noqa: SIM118  # a safetensors file is no mapping
                if not name.endswith(PASSED_OVER):
                    tensors[name] = (tuple(file.get_slice(name).get_shape()), loader(file, name))
        if not tensors:
            raise InputError(f"{folder} has no .safetensors file, and reasrm reads weights from no other kind")
        if config.tie_word_embeddings:
            tensors.pop(OUTPUT, None)
        elif config.tie_word_embeddings is False and OUTPUT not in tensors:
            raise InputError(f"{folder}: the weights lack {OUTPUT}, and config.json does not tie it to the embedding")
        yield tensors
