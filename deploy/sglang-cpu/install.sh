#!/usr/bin/env bash
# Make a virtual environment in which a real SGLang server runs without a GPU.
#
#   install.sh DIR            e.g. install.sh .venv-sglang
#
# PYTHON       the interpreter (default python3; 3.11)
# TORCH_INDEX  a package index to take torch from; https://download.pytorch.org/whl/cpu has the small CPU build,
#              while the default, PyPI, has the CUDA build, which works as well but is some GB larger.
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
venv=$1

# Without compiled bytecode a server takes a minute to start instead of a quarter of one.
unset PYTHONDONTWRITEBYTECODE
[ -x "$venv/bin/pip" ] || "${PYTHON:-python3}" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check install --quiet "$@"; }
pip torch==2.13.0 ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
pip --no-deps -r "$here/requirements.txt"
