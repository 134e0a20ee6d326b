# syntax=docker/dockerfile:1
# cnncli on the processor (target cpu, the default) or on NVIDIA GPUs (target gpu):
#
#   docker build -t cnncli .
#   docker run --rm -v "$PWD:/work" -u "$(id -u):$(id -g)" cnncli train /work/config.yaml
#   docker build -t cnncli:gpu --target gpu .
#   docker run --rm --gpus all -v "$PWD:/work" -u "$(id -u):$(id -g)" cnncli:gpu train /work/config.yaml
#
# Both have the extras in EXTRAS, by default int8 only; `cnncli serve` needs: --build-arg EXTRAS=int8,serve

ARG PYTHON=3.11.14
ARG DEBIAN=bookworm

FROM python:${PYTHON}-slim-${DEBIAN} AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/cnncli && pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM build AS build-cpu
ARG EXTRAS=int8
RUN /opt/cnncli/bin/pip install --no-cache-dir -c constraints.txt "cnncli[${EXTRAS}] @ file://$(echo /wheels/*.whl)"

FROM build AS build-gpu
ARG EXTRAS=int8
RUN /opt/cnncli/bin/pip install --no-cache-dir -c constraints.txt "cnncli[gpu,${EXTRAS}] @ file://$(echo /wheels/*.whl)"

# No compiler, no source, no root. The folder of the cache, the weights and the runs is a volume, so that they outlive a
# container; any user may write to it.
FROM python:${PYTHON}-slim-${DEBIAN} AS base
ENV PATH=/opt/cnncli/bin:$PATH \
    CNNCLI_CACHE=/var/lib/cnncli/cache \
    KERAS_HOME=/var/lib/cnncli/keras \
    MPLCONFIGDIR=/tmp/matplotlib
RUN useradd --system --uid 10001 --home-dir /var/lib/cnncli --create-home cnncli && install -d -m 1777 /work /var/lib/cnncli
USER 10001
WORKDIR /work
VOLUME /var/lib/cnncli
ENTRYPOINT ["cnncli"]
CMD ["--help"]

FROM base AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-gpu /opt/cnncli /opt/cnncli

FROM base AS cpu
COPY --from=build-cpu /opt/cnncli /opt/cnncli
