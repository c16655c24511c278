# shellcheck shell=bash
# The part of check-image that runs the image IMAGE beside the server of with-postgres: by bash -c, after lib.sh.
set -eu
PATH=$WEIR_TEST_POSTGRES_BIN:$PATH
superuser=$WEIR_TEST_SUPERUSER_URL
host=${superuser#*@} host=${host%/*}
public=$(free_port) admin=$(free_port)

container=$(buildah from --pull-never "$1")
end() {
    [ -z "${weir:-}" ] || kill -KILL "$weir" 2>/dev/null || true
    buildah rm "$container" >/dev/null
}
trap end EXIT

inside() { buildah run "$container" -- "$@"; }
rows() { psql -XAtq "${superuser%/*}/weir" -c "$1"; }

psql -Xq "$superuser" -c "create role weir login password 'secret'" -c 'create database weir owner weir'
buildah config --env "DATABASE_URL=postgres://weir:secret@$host/weir" --env "WEIR_RECEIVE__LISTEN=127.0.0.1:$public" \
    --env "WEIR_ADMIN__LISTEN=127.0.0.1:$admin" "$container"
version=$(inside weir --version) user=$(inside id)
say "ok       $version, as $user"
buildah run "$container" -- weir serve &
running=$!
until_true 60 inside weir healthcheck || die "weir did not start"
weir=$(pgrep -u 10001 -x weir)
say "ok       weir healthcheck"
key=$(inside weir source add web 2>/dev/null | grep -o 'pk_[A-Za-z0-9_-]*' | head -n 1)
until_true 15 curl -sf "http://127.0.0.1:$public/v1/events?key=$key" -H 'content-type: text/plain' -d '{"name":"in the image"}' ||
    die "weir takes no events"
arrived() { [ "$(rows "select name from analytics.events")" = "in the image" ]; }
until_true 15 arrived || die "the event is no row"
say "ok       an event is a row"
kill -TERM "$weir"
wait "$running" || die "weir ended with $?"
weir=
say "ok       SIGTERM ends it in order"
