# syntax=docker/dockerfile:1
# From the repository's root:
#   docker build -f deploy/trainer.Dockerfile -t reasrm-trainer .
# Recipe, data and models are read from the folder that it is started in; the volume reasrm-runs belongs to the image's user:
#   docker run --gpus all --shm-size 16g -v "$PWD:/in:ro" -w /in -v reasrm-runs:/runs reasrm-trainer \
#     train run mine.toml --output /runs/mine
# Models and data sets of the hub: add -e HF_HUB_OFFLINE=0.
# torch from PyPI brings CUDA with it. For a machine without GPUs:
#   --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu

ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ARG TORCH_INDEX=https://pypi.org/simple
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/reasrm/bin:$PATH
WORKDIR /src
COPY constraints.txt ./
RUN python -m venv /opt/reasrm
RUN pip install --no-cache-dir "$(grep '^torch==' constraints.txt)" --index-url "${TORCH_INDEX}"
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY reasrm reasrm
COPY serving serving
COPY training training
RUN pip install --no-cache-dir -c constraints.txt ".[train,data]"

FROM ${PYTHON} AS trainer
# Triton compiles its launchers when a kernel first runs. Debian's packages are not pinned: the base image's tag says which Debian.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --create-home reasrm \
    && install -d -o reasrm -g reasrm /runs
COPY --from=build /opt/reasrm /opt/reasrm
ENV PATH=/opt/reasrm/bin:$PATH PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
# a run without --output writes to runs/NAME below the folder that it is started in: here that is the volume too
WORKDIR /
USER 10001:10001
VOLUME /runs
# A healthy run writes something again and again (rows, chains, metrics, samples, checkpoints); a run that hangs does not.
HEALTHCHECK --interval=5m --timeout=30s --start-period=60m --retries=2 \
    CMD ["sh", "-c", "find /runs -type f -mmin -60 | grep -q ."]
ENTRYPOINT ["reasrm"]
CMD ["train", "--help"]
