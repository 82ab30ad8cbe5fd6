# Trains as a SageMaker container does: `docker run IMAGE train`. Built from the wheel: python -m build --wheel
# docker build -f packaging/docker/train.Dockerfile -t vizsla-train .
FROM python:3.12-slim

RUN useradd --create-home --uid 1000 vizsla && mkdir -p /opt/ml && chown vizsla /opt/ml
COPY dist/*.whl /tmp/
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
      "$(ls /tmp/vizsla-*.whl)[train,tune,check,s3]" && rm /tmp/*.whl
COPY --chmod=755 packaging/docker/train /usr/local/bin/train
USER vizsla
WORKDIR /home/vizsla
ENV PYTHONUNBUFFERED=1
CMD ["train"]
