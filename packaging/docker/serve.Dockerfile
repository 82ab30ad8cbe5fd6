# Serves /opt/ml/model as a SageMaker container does: `docker run -p 8080:8080 IMAGE serve`. Without torch.
# docker build -f packaging/docker/serve.Dockerfile -t vizsla-serve .
FROM python:3.12-slim

RUN useradd --create-home --uid 1000 vizsla && mkdir -p /opt/ml && chown vizsla /opt/ml
COPY dist/*.whl /tmp/
RUN pip install --no-cache-dir "$(ls /tmp/vizsla-*.whl)[serve,s3]" && rm /tmp/*.whl
COPY --chmod=755 packaging/docker/serve /usr/local/bin/serve
USER vizsla
WORKDIR /home/vizsla
ENV PYTHONUNBUFFERED=1
EXPOSE 8080
CMD ["serve"]
