# One image for every part; the command chooses: collector (default), Dagster webserver, daemon.
# With what Kubernetes and Ray need, see deploy/kubernetes: --build-arg LOCK=requirements-cluster.lock
FROM python:3.12-slim-bookworm AS build
ARG LOCK=requirements.lock
WORKDIR /app
COPY requirements.lock requirements-cluster.lock ./
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r ${LOCK}
COPY pyproject.toml README.md LICENSE ./
COPY ingestion_api ingestion_api
COPY lake lake
COPY warehouse_sql warehouse_sql
COPY pipelines pipelines
COPY local_stack local_stack
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin wattlake \
 && install -d -o wattlake -g wattlake /data/lake /data/dagster /data/dagster/storage
COPY --from=build /venv /venv
WORKDIR /app
COPY workspace.yaml ./
COPY --chown=wattlake:wattlake pipelines/dagster.yaml /data/dagster/dagster.yaml
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=3000 \
    LAKE_URI=/data/lake \
    DAGSTER_HOME=/data/dagster
USER wattlake
EXPOSE 3000 3001
VOLUME ["/data/lake", "/data/dagster/storage"]
# Longer than all tries of the check together, which at last ends what hangs.
HEALTHCHECK --interval=10s --timeout=120s --start-period=20s \
    CMD python -m local_stack.stack.health_check http://127.0.0.1:$PORT/healthz
CMD ["python", "-m", "ingestion_api"]
