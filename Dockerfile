# clearsync in a container:
#
#   docker build -t clearsync .
#   docker run --rm -it clearsync hash-password
#   docker run -p 127.0.0.1:8080:8080 -v clearsync:/data -v "$PWD/users.toml:/users.toml:ro" \
#       -e CLEARSYNC_AUTH__USERS_FILE=/users.toml clearsync serve --host 0.0.0.0 --insecure-http
#
# `serve` starts only where nobody can sign in unasked and no password crosses a network in the clear. So it wants
#   - users: CLEARSYNC_AUTH__USERS_FILE, readable by user 10001, and
#   - a proxy that ends TLS (CLEARSYNC_SERVER__TRUSTED_PROXIES, its address), or CLEARSYNC_SERVER__TLS_CERTIFICATE and
#     CLEARSYNC_SERVER__TLS_KEY, or --insecure-http where the port is published on loopback only, as above.

FROM python:3.12-slim AS build
WORKDIR /build
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/clearsync \
    && /opt/clearsync/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY server server
COPY clients/js clients/js
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheel . \
    && /opt/clearsync/bin/pip install --no-cache-dir --no-deps wheel/*.whl

FROM python:3.12-slim
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin clearsync \
    && install --directory --owner clearsync --group clearsync --mode 700 /data
COPY --from=build /opt/clearsync /opt/clearsync
ENV PATH=/opt/clearsync/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CLEARSYNC_STORE__DATA_DIR=/data
USER clearsync
VOLUME /data
EXPOSE 8080
# No shell client is in the image, and urllib would take a proxy of the environment. Another port, or TLS here instead of
# at a proxy, needs its own check.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8080, timeout=4); c.request('GET', '/ready'); raise SystemExit(c.getresponse().status != 200) # http://127.0.0.1:8080/ready"]
ENTRYPOINT ["clearsync"]
CMD ["serve", "--host", "0.0.0.0"]
