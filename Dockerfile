# recstream as an image: any role, by the command. Built from a checkout: docker build -t recstream .
# With --build-arg SPARK=1 it also has Java and pyspark, for a trainer that trains on Spark and for executors.
FROM python:3.12-slim AS build
RUN pip install --no-cache-dir "uv>=0.8"
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT=/opt/recstream UV_PYTHON_DOWNLOADS=never
WORKDIR /src
ARG SPARK
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --frozen --no-default-groups --extra kafka --extra mongo ${SPARK:+--extra spark} --no-install-project
COPY recstream recstream
COPY web web
RUN uv sync --frozen --no-default-groups --extra kafka --extra mongo ${SPARK:+--extra spark} --no-editable

FROM python:3.12-slim
ARG SPARK
RUN test -z "$SPARK" || { apt-get update \
  && apt-get install -y --no-install-recommends default-jre-headless procps \
  && rm -rf /var/lib/apt/lists/*; }
RUN useradd --uid 10001 --user-group --no-create-home recstream \
  && install --directory --owner recstream --group recstream /data
COPY --from=build /opt/recstream /opt/recstream
# Numba keeps what it compiled beside the views, so that a restart does not compile again.
ENV PATH=/opt/recstream/bin:$PATH PYTHONUNBUFFERED=1 RECSTREAM_DATA_DIR=/data NUMBA_CACHE_DIR=/data/.numba
USER recstream
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["recstream"]
CMD ["up", "--no-open"]
