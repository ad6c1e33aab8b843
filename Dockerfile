# The environment of the pipeline, with the versions of constraints.txt; the clone is mounted at /work.
# docs/clusters.md has the commands, also for an image without CUDA.
FROM python:3.11-slim-bookworm

# DVC needs git
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git=1:2.* \
    && rm -rf /var/lib/apt/lists/*

# index of other builds of torch, such as the one without CUDA; pip reads this variable
ARG PIP_EXTRA_INDEX_URL=
ARG EXTRAS=cluster

WORKDIR /work
COPY setup.cfg pyproject.toml constraints.txt README.md LICENSE ./
COPY pipeline/__init__.py pipeline/
RUN pip install --no-cache-dir --constraint constraints.txt --editable ".[${EXTRAS}]"

# no rights of root; `docker run --user` gives those of the clone's owner, whom this system does not
# know: DVC asks for a name, and libraries need a home
ENV HOME=/tmp USER=researcher
USER 1000:1000
CMD ["dvc", "repro"]
