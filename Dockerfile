# The collector alone ('weir serve'): PostgreSQL runs elsewhere, at DATABASE_URL.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
# The newest certificates are wanted, not a pinned version of them.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 weir \
    && useradd --uid 10001 --gid weir --no-create-home --home-dir /var/lib/weir \
        --shell /usr/sbin/nologin weir \
    && install -d -o weir -g weir -m 0750 /var/lib/weir
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
