# A node of a Ray cluster: the same image for the head and the workers, and for who submits jobs.
# docker build -f packaging/docker/ray.Dockerfile -t vizsla-ray .
FROM python:3.12-slim

# KubeRay looks by wget whether a node is well.
RUN apt-get update && apt-get install --yes --no-install-recommends wget && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 vizsla && mkdir -p /shared && chown vizsla /shared
COPY dist/*.whl /tmp/
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
      "$(ls /tmp/vizsla-*.whl)[train,tune,check,s3,serve,ray]" && rm /tmp/*.whl
USER vizsla
WORKDIR /home/vizsla
ENV PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0 VIZSLA_HOME=/shared/runs VIZSLA_CACHE=/shared/cache
