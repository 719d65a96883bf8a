#!/usr/bin/env bash
# Make the secrets that compose.yaml and the Kubernetes manifests read as files: deploy/secrets.sh [DIR], by default deploy/secrets.
# A secret that is there already stays as it is.
#
#   fence-secret      the secret of the prompts' fences; all gateways share it, also after the cache is lost
#   redis-url         how gateways reach Redis, password included
#   redis-users       the users of Redis: the gateway, with the password's hash; all others may only ping
#   keys.toml         the callers, with the hashes of their tokens; `reasrm keys new NAME` prints more entries
#   grafana-password  of Grafana's "admin"
#
# The token of the first key, which may replace weights, goes into DIR/../admin-token: it is for you, and no deployed program reads it.
# Compose reads its variables from DIR/../.env, which is made with the defaults and read at every `up`.
set -euo pipefail
dir=${1:-$(dirname "$0")/secrets}
# Containers run as users of their own and read the files through a mount: the folder keeps this machine's other users out.
mkdir -p -m 700 "$dir"
umask 022

random() { head -c 32 /dev/urandom | sha256sum | cut -c 1-64; }
hash() { printf %s "$1" | sha256sum | cut -c 1-64; }

[ -s "$dir/fence-secret" ] || random >"$dir/fence-secret"
[ -s "$dir/grafana-password" ] || random >"$dir/grafana-password"
if ! [ -s "$dir/keys.toml" ]; then
  token=$(random)
  printf '[[key]]\nname = "admin"\nsha256 = "%s"\nadmin = true\n' "$(hash "$token")" >"$dir/keys.toml"
  (umask 077 && printf '%s\n' "$token" >"$(dirname "$dir")/admin-token")
fi
if ! [ -s "$dir/redis-url" ] || ! [ -s "$dir/redis-users" ]; then
  password=$(random)
  printf 'user default on nopass -@all +ping\nuser gateway on #%s ~* &* +@all -@admin -@dangerous\n' "$(hash "$password")" >"$dir/redis-users"
  printf 'redis://gateway:%s@redis:6379/0\n' "$password" >"$dir/redis-url"
fi
if ! [ -s "$(dirname "$dir")/.env" ]; then
  cat >"$(dirname "$dir")/.env" <<'END'
# What compose.yaml runs with the profile gpu. MODELS is a folder on this machine, MODEL a folder in it.
MODELS=./models
MODEL=judge
WEIGHT_VERSION=1
PROMPTS=rubric
# GPUs that one copy of the judge takes
GPUS=1
END
fi
echo "secrets are in $dir, the first key's token in $(dirname "$dir")/admin-token"
