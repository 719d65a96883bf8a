"""A model folder in other forms: GGUF, which llama.cpp, Ollama and LM Studio read.

gguf_file.py       `write_gguf`: the whole way, from a folder to a file that was checked
architecture.py    `config.json` as GGUF's metadata, and the form of each tensor
vocabulary.py      `tokenizer.json` as GGUF's vocabulary
agreement.py       both tokenizers on the same texts
texts.py           those texts
llama_tokens.py    llama.cpp's tokens of texts, in a process of its own
"""
