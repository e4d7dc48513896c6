# The image of every process of Weft. `make image` runs this file on a base of the machine's Debian packages, with parts that
# it makes in the checkout; where there is a registry,
#
#   docker build --build-arg VERSION=0.1.0 --tag weft:0.1.0 .
#
# makes both itself. The steps are in scripts/image/, so that the two are the same.
ARG BASE=debian:12-slim
ARG RUST=rust:1-bookworm

FROM ${RUST} AS builder
RUN apt-get update -q && apt-get install -yq --no-install-recommends python3-venv
WORKDIR /source
COPY . .
RUN scripts/image/parts.sh /parts

FROM scratch AS parts
COPY --from=builder /parts /

FROM ${BASE}
RUN --mount=type=bind,source=scripts/image,target=/build sh /build/packages.sh
RUN --mount=type=bind,source=scripts/image,target=/build --mount=type=bind,from=parts,target=/parts \
    sh /build/install.sh /parts
ENV PATH=/opt/weft/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# The node agent and the node proxy work as root; the controller as anybody, and every process with a read-only root.
ENTRYPOINT ["weft"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Weft" \
      org.opencontainers.image.description="An ambient service mesh for Kubernetes" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
