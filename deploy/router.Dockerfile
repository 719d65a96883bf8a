# syntax=docker/dockerfile:1
# sglang-router, which spreads requests over many SGLang servers, in an image of its own: it needs no GPU.
#   docker build -f deploy/router.Dockerfile -t reasrm-router .

ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/router \
    && /opt/router/bin/pip install --no-cache-dir sglang-router==0.3.2

FROM ${PYTHON} AS router
COPY --from=build /opt/router /opt/router
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent router
ENV PATH=/opt/router/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 30000 29000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:30000/liveness', timeout=2)"]
ENTRYPOINT ["python", "-m", "sglang_router.launch_router"]
CMD ["--help"]
