#!/usr/bin/env bash
# Serve a model with SGLang on the CPU, on the loopback interface.
#
#   serve.sh VENV MODEL_DIR PORT [flags of sglang.launch_server]
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
venv=$1 model=$2 port=$3
shift 3

export PYTHONPATH="$here/shim"
export SGLANG_USE_CPU_ENGINE=1
export OMP_NUM_THREADS=1        # more threads only wait for each other: 32 requests at once ran 36 times slower
export TORCHDYNAMO_DISABLE=1    # otherwise the first request with a penalty compiles for 20 s
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
unset PYTHONDONTWRITEBYTECODE

options=(
  --device cpu --attention-backend torch_native --host 127.0.0.1 --port "$port" --model-path "$model"
  --dtype float32               # most processors only emulate half precision, which SGLang takes by default: prompts took 3.8 times as long
  --max-running-requests 64
  --max-total-tokens 65536      # otherwise the KV cache takes 2 GB
  --enable-cache-report         # usage says how much of a prompt was cached
  --sleep-on-idle               # otherwise an idle server keeps a core busy
)
exec "$venv/bin/python" -m sglang.launch_server "${options[@]}" "$@"
