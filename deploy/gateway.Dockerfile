# syntax=docker/dockerfile:1
# From the repository's root:
#   docker build -f deploy/gateway.Dockerfile -t reasrm-gateway .                 before an engine of its own, such as SGLang
#   docker build -f deploy/gateway.Dockerfile -t reasrm-demo --target demo .      with llama.cpp, on the CPU

ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/reasrm/bin:$PATH
WORKDIR /src
COPY constraints.txt ./
RUN python -m venv /opt/reasrm
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY reasrm reasrm
COPY serving serving
COPY training training
RUN pip install --no-cache-dir -c constraints.txt ".[serve]"

FROM build AS build-local
RUN pip install --no-cache-dir -c constraints.txt ".[serve,local]"

FROM ${PYTHON} AS base
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent reasrm \
    && install -d -o reasrm -g reasrm /var/lib/reasrm
ENV PATH=/opt/reasrm/bin:$PATH PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 \
    REASRM_HOST=0.0.0.0 REASRM_PORT=8900 REASRM_STATE_DIR=/var/lib/reasrm
USER 10001:10001
EXPOSE 8900
# /healthz says whether the process runs; senders of requests ask /readyz whether it can judge
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8900/healthz', timeout=2)"]
ENTRYPOINT ["reasrm"]
CMD ["serve"]

FROM base AS demo
COPY --from=build-local /opt/reasrm /opt/reasrm

FROM base AS gateway
COPY --from=build /opt/reasrm /opt/reasrm
