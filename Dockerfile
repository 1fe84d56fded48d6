# recstream as an image: any role, by the command. Built from a checkout: docker build -t recstream .
FROM python:3.12-slim AS build
RUN pip install --no-cache-dir "uv>=0.8"
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT=/opt/recstream UV_PYTHON_DOWNLOADS=never
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --frozen --no-default-groups --extra kafka --extra mongo --no-install-project
COPY recstream recstream
COPY web web
RUN uv sync --frozen --no-default-groups --extra kafka --extra mongo --no-editable

FROM python:3.12-slim
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
