# The daemon alone: no compiler, no pip, no tests, not root. The two stages share a base, so that what is built in one
# runs in the other. Versions are those of .ci/constraints.txt; pass BASE=…@sha256:… to pin the base as well.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
# The compiler is for the modules of the hot path; without it the image would work too, but slower.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY .ci/pip-*.whl /pip.whl
COPY .ci/constraints.txt pyproject.toml ./
# What changes seldom comes first, so that a change of ours does not fetch everything again.
RUN python3 -m venv --without-pip /opt/ambassador \
 && python3 -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
    > requirements.txt \
 && python3 /pip.whl/pip --python /opt/ambassador/bin/python install --no-cache-dir --no-compile \
    --constraint constraints.txt --requirement requirements.txt
COPY README.md LICENSE ./
COPY ambassador ambassador
# The root file system will be read-only, so Python's bytecode is made here; by hash, not by time, it is the same each time.
RUN python3 /pip.whl/pip --python /opt/ambassador/bin/python install --no-cache-dir --no-compile \
    --no-deps --build-constraint constraints.txt . \
 && /opt/ambassador/bin/python -I -c "import importlib, tomllib; \
    modules = tomllib.load(open('pyproject.toml', 'rb'))['tool']['setuptools']['ext-modules']; \
    pure = [m['name'] for m in modules if not importlib.import_module(m['name']).__file__.endswith('.so')]; \
    assert not pure, pure" \
 && find /opt/ambassador -name __pycache__ -prune -exec rm -rf {} + \
 && /opt/ambassador/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/ambassador/lib

FROM ${BASE}
LABEL org.opencontainers.image.title="ambassador" \
      org.opencontainers.image.description="The proxy between applications in Kubernetes and the databases outside it" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/ambassador /opt/ambassador
ENV PATH=/opt/ambassador/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["ambassador"]
CMD ["run", "--config", "/etc/ambassador/config/ambassador.yaml"]
