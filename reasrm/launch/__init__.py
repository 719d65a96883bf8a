"""Engines that reasrm starts itself: found, checked, started with the settings of a judge, watched, and ended.

hub.py           a file, a folder or a hub id as files on this machine
gguf_file.py     the header of a GGUF file: what the model is, and whether the file is whole
digest.py        the version of files' content
machine.py       memory, processors and GPUs
llama_cpp.py     slots and context of llama.cpp for a model and a machine
llama_server.py  the program that is llama.cpp's server (a process of its own)
sglang.py        the command line of SGLang
process.py       `ServerProcess`: a server in a child process, started again when it ends
guard.py         the program that ends a server when the process that started it is gone
"""

from reasrm.launch.gguf_file import GgufFile, read_gguf
from reasrm.launch.process import ServerProcess, free_port, free_ports

__all__ = ["GgufFile", "ServerProcess", "free_port", "free_ports", "read_gguf"]
