# The collector alone ('weir serve'): PostgreSQL runs elsewhere, at DATABASE_URL.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=0.1.0 .
ARG RUST_VERSION=1.95
ARG DEBIAN_VERSION=bookworm

FROM rust:${RUST_VERSION}-${DEBIAN_VERSION} AS build
WORKDIR /src
COPY . .
# Nothing of it says where it was built; the lines of its debug information are three quarters of it, and stay here.
RUN RUSTFLAGS="--remap-path-prefix=/src=/weir --remap-path-prefix=/usr/local/cargo=/cargo" \
    CFLAGS="-ffile-prefix-map=/src=/weir -ffile-prefix-map=/usr/local/cargo=/cargo" \
    cargo build --release --locked --bin weir \
    && strip -S target/release/weir

FROM debian:${DEBIAN_VERSION}-slim
ARG VERSION=unreleased
LABEL org.opencontainers.image.title="weir" \
      org.opencontainers.image.description="Event collector: a 200 means on disk, then a row in PostgreSQL" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# The newest certificates are wanted, not a pinned version of them.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 weir \
    && useradd --uid 10001 --gid weir --no-create-home --home-dir /var/lib/weir \
        --shell /usr/sbin/nologin weir \
    && install -d -o weir -g weir -m 0750 /var/lib/weir
# The libraries' licences are there once 'make release' has been: an image for others needs them.
COPY LICENSE-MIT LICENSE-APACHE target/package/THIRD-PARTY.tx[t] /usr/share/doc/weir/
COPY --from=build /src/target/release/weir /usr/local/bin/weir
# The journal belongs into the volume: it holds what was promised and has not arrived yet.
ENV WEIR_DATA_DIR=/var/lib/weir WEIR_JOURNAL__DIR=/var/lib/weir/journal
WORKDIR /var/lib/weir
USER 10001:10001
VOLUME /var/lib/weir
# Metrics stay inside, on 127.0.0.1:8081: to scrape them, set WEIR_ADMIN__LISTEN=0.0.0.0:8081 and WEIR_ADMIN__TOKEN.
EXPOSE 8080
# By weir itself: the image has no curl.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["weir", "healthcheck"]
ENTRYPOINT ["weir"]
CMD ["serve"]
