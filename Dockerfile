# The container image, and the binary of a release: see docs/container.md.
#
#   build   compiles                                     docker build --target binary --output out .
#   binary  only the binary                              (writes out/polarway)
#   root    lays out the image's files
#   last    the image: no shell, no package manager      docker build --tag polarway .
#
# The same sources give the same binary: compiler, C library and linker are of fixed versions. What `RUN` and `COPY` need is in
# every BuildKit of 0.10 or later and in Buildah, so that no other version of the Dockerfile's language is fetched.

# An index for linux/amd64 and linux/arm64. A newer one: `docker buildx imagetools inspect rust:VERSION-slim-bookworm`. Its C
# library is the oldest that the binary runs with.
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082

FROM ${RUST_IMAGE} AS build
# The compiler of the image: without this, rust-toolchain.toml has rustup fetch whichever is stable today.
ENV RUSTUP_TOOLCHAIN=1.95.0
# The version of the linker decides what the binary's bytes are; that of protoc does not.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libprotobuf-dev 'mold=1.10.1+dfsg-1*' protobuf-compiler \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# What cargo fetched and compiled stays with the builder for the next build; copied out, the binary is part of the layer.
ARG TARGETARCH
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=polarway-target-${TARGETARCH},target=/target,sharing=locked \
    CARGO_TARGET_DIR=/target CARGO_INCREMENTAL=0 cargo build --release --locked --package polarway \
 && install -D /target/release/polarway /out/polarway

FROM scratch AS binary
COPY --from=build /out/polarway /polarway

FROM build AS root
ARG SOURCE_DATE_EPOCH=0
RUN scripts/image-root.sh /out/polarway /image

FROM scratch
# `--build-context root=DIRECTORY` puts other files in the place of that stage: a test takes a binary that is there already.
COPY --from=root --chown=0:0 /image/files/ /
COPY --from=root --chown=10001:10001 /image/state/ /var/lib/

LABEL org.opencontainers.image.title="Polarway" \
      org.opencontainers.image.description="SQL over files in object storage and live feeds" \
      org.opencontainers.image.licenses="Apache-2.0"

# All that a process keeps, shuffle and spill among it, is below its data directory. Executors do not serve HTTP of their own
# accord, and it is there that the health check asks; from outside the container nobody can, until a flag opens it.
ENV POLARWAY_DATA_DIR=/var/lib/polarway \
    POLARWAY_EXECUTOR__HTTP_LISTEN=127.0.0.1:8080
VOLUME /var/lib/polarway
WORKDIR /var/lib/polarway
USER 10001:10001
EXPOSE 50051 50052 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/bin/polarway", "health"]
ENTRYPOINT ["/usr/bin/polarway"]
CMD ["up"]
