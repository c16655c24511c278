# shellcheck shell=bash disable=SC2154
# The part of check-deploy that runs weir behind the real nginx and Caddy, and before a real Prometheus. Sourced by it: "check",
# "needs", "tmp", "deploy" and "started" are its own.

start() { # NAME COMMAND...
    local name=$1
    shift
    "$@" >"$tmp/$name.log" 2>&1 &
    started+=($!)
}

sql() { psql -XAtq "$DATABASE_URL" -c "$1"; }
is_true() { [ "$(sql "select $1")" = t ]; }

# The names of deploy/ lead to ports here; from an address of its own, which weir takes for no proxy.
client() {
    curl -sS -k --max-time 60 --interface 127.0.0.9 --resolve "collector.example:$public:127.0.0.1" \
        --resolve "console.example:$console:127.0.0.1" "$@"
}

answers() { # STATUS CURL_ARGUMENT...
    local wanted=$1 status
    shift
    status=$(client -o "$tmp/body" -w '%{http_code}' "$@")
    echo "answered $status, wanted $wanted: $(head -c 300 "$tmp/body")"
    [ "$status" = "$wanted" ]
}

event() { # NAME CURL_ARGUMENT...
    local name=$1
    shift
    answers 200 "$@" -H 'content-type: application/json' -H 'x-forwarded-for: 198.51.100.7' \
        -d "{\"name\":\"$name\"}" "https://collector.example:$public/v1/events?key=$key"
}

# What the sender claims of its address is not believed; what the proxy says is.
visitor() { # NAME
    until_true 10 is_true "exists (select from analytics.events where name = '$1')"
    sql "select ip from analytics.events where name = '$1'"
    is_true "(select host(ip) = '127.0.0.9' from analytics.events where name = '$1')"
}

sign_in() {
    rm -f "$tmp/cookies"
    answers 303 -c "$tmp/cookies" -D "$tmp/head" -H "origin: https://console.example:$console" \
        -d 'role=alice&next=/sql' --data-urlencode "password=$password" "https://console.example:$console/sign-in" &&
        cat "$tmp/head" && grep -iq '^set-cookie: weir_session=.*; secure' "$tmp/head"
}

# A page asks how a query is doing, and is answered after 25 s: it is still running.
long_poll() {
    local csrf run asked=$SECONDS
    client -b "$tmp/cookies" -H 'accept: text/html' "https://console.example:$console/account" >"$tmp/page"
    csrf=$(sed -n 's/.*name="csrf" content="\([^"]*\)".*/\1/p' "$tmp/page" | head -n 1)
    answers 202 -b "$tmp/cookies" -H "origin: https://console.example:$console" -H "x-csrf-token: $csrf" \
        -H 'content-type: application/json' -d '{"sql":"select pg_sleep(40)"}' "https://console.example:$console/sql/runs" || return
    run=$(sed 's/.*"run":"\([^"]*\)".*/\1/' "$tmp/body")
    answers 200 -b "$tmp/cookies" "https://console.example:$console/sql/runs/$run?wait=25" || return
    grep -q '"running"' "$tmp/body" && [ $((SECONDS - asked)) -ge 24 ]
}

through() { # PROXY
    local proxy=$1 version
    if ! until_true 10 answers 200 "https://collector.example:$public/w.js"; then
        tail -n 20 "$tmp/$proxy.log" >&2
    fi
    for version in 1.1 2; do
        check "$proxy: an event by HTTP/$version" event "$proxy$version" "--http$version"
        check "$proxy: its row has the visitor's address" visitor "$proxy$version"
    done
    head -c 1100000 /dev/zero >"$tmp/large"
    check "$proxy: a body over 1 MiB is refused" answers 413 -H 'content-type: application/json' \
        --data-binary "@$tmp/large" "https://collector.example:$public/v1/events?key=$key"
    check "$proxy: metrics are not shown, also with the token" \
        answers 404 -H "authorization: Bearer $token" "https://console.example:$console/metrics"
    check "$proxy: the console's page" answers 200 "https://console.example:$console/sign-in"
    check "$proxy: a form of another site is refused" \
        answers 403 -H 'origin: https://evil.example' -d 'role=alice&password=x' "https://console.example:$console/sign-in"
    check "$proxy: sign-in, with a cookie for TLS only" sign_in
    check "$proxy: a page that waits for 25 s" long_poll
}

by_nginx() {
    public=$(free_port) console=$(free_port)
    mkdir -p "$tmp/nginx"
    python3 - "$deploy/nginx.conf" "$public" "$console" "$weir_public" "$weir_admin" "$tmp" >"$tmp/nginx/weir.conf" <<'PYTHON'
import re, sys
path, public, console, weir_public, weir_admin, tmp = sys.argv[1:]
redirect, collector, people = re.split(r"(?m)^(?=# Events\.|# The console\.)", open(path).read())
redirect = redirect[:redirect.index("server {\n    listen 80")]
text = redirect.replace(":8080", f":{weir_public}").replace(":8081", f":{weir_admin}")
for part, port in ((collector, public), (people, console)):
    text += re.sub(r"\n    listen \[::\].*", "", part).replace("listen 443", f"listen 127.0.0.1:{port}")
print(re.sub(r"/etc/ssl/\w+\.example/", f"{tmp}/", text))
PYTHON
    cat >"$tmp/nginx/nginx.conf" <<CONF
daemon off;
pid $tmp/nginx/pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path $tmp/nginx/body;
    proxy_temp_path $tmp/nginx/proxy;
    fastcgi_temp_path $tmp/nginx/fastcgi;
    uwsgi_temp_path $tmp/nginx/uwsgi;
    scgi_temp_path $tmp/nginx/scgi;
    include $tmp/nginx/weir.conf;
}
CONF
    # Workers are another user's.
    chmod 711 "$tmp" && chmod 755 "$tmp/nginx"
    check "nginx -t" nginx -t -c "$tmp/nginx/nginx.conf"
    start nginx nginx -c "$tmp/nginx/nginx.conf"
    through nginx
}

by_caddy() {
    public=$(free_port) console=$(free_port)
    {
        printf '{\n\tadmin off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n}\n'
        sed -e "s#^\(collector\.example\) {#https://\1:$public {\n\ttls $tmp/fullchain.pem $tmp/privkey.pem#" \
            -e "s#^\(console\.example\) {#https://\1:$console {\n\ttls $tmp/fullchain.pem $tmp/privkey.pem#" \
            -e "s#127.0.0.1:8080#127.0.0.1:$weir_public#" -e "s#127.0.0.1:8081#127.0.0.1:$weir_admin#" "$deploy/Caddyfile"
    } >"$tmp/Caddyfile"
    start caddy env XDG_DATA_HOME="$tmp/caddy" XDG_CONFIG_HOME="$tmp/caddy" caddy run --config "$tmp/Caddyfile" --adapter caddyfile
    through caddy
}

# All rules and all panels, by a Prometheus that scrapes with the token.
by_prometheus() {
    local port
    port=$(free_port)
    prometheus_settings "127.0.0.1:$weir_admin"
    sed -i 's/interval: 15s/interval: 1s/' "$tmp/prometheus/prometheus.yml"
    start prometheus prometheus --config.file="$tmp/prometheus/prometheus.yml" --storage.tsdb.path="$tmp/prometheus/data" \
        --web.listen-address="127.0.0.1:$port" --log.level=warn
    check "prometheus: scrapes, and all rules and panels are answered" prometheus_answers "$port"
}

prometheus_answers() { # PORT
    python3 - "$1" "$tmp/queries.json" <<'PYTHON'
import json, sys, time, urllib.parse, urllib.request

base, queries = f"http://127.0.0.1:{sys.argv[1]}/api/v1", json.load(open(sys.argv[2]))
# Of what has not happened here there are no series.
RARE = ("weir_sync_", "weir_rollup_run_seconds", "weir_replication_", "weir_analyst_", "node_", "weir_events_refused_total", "weir_requests_refused_total")

def ask(path):
    return json.load(urllib.request.urlopen(base + path, timeout=10))["data"]

deadline = time.time() + 40
while True:
    try:
        up = ask("/query?query=" + urllib.parse.quote('count_over_time(up{job="weir"}[1m]) > 5 and up == 1'))["result"]
        rules = [rule for group in ask("/rules")["groups"] for rule in group["rules"]]
        if up and rules and all(rule["health"] != "unknown" for rule in rules):
            break
    except OSError:
        pass
    if time.time() > deadline:
        sys.exit(f"not scraped: {ask('/targets')['activeTargets']}")
    time.sleep(0.5)
wrong = [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule["health"] != "ok"]
for query in queries:
    if not ask("/query?query=" + urllib.parse.quote(query))["result"] and not any(name in query for name in RARE):
        wrong.append(f"a panel is empty: {query}")
print("\n".join(wrong))
sys.exit(bool(wrong))
PYTHON
}

alice() { printf '%s' "$password" | "$weir" analyst add alice --password-file - >"$tmp/alice" 2>&1; }

live() {
    local host superuser=$WEIR_TEST_SUPERUSER_URL
    PATH=$PATH:$WEIR_TEST_POSTGRES_BIN
    if ! needs "everything that runs" psql; then return; fi
    # There is no weir.toml there.
    cd "$tmp" || exit
    host=${superuser#*@} host=${host%/*}
    token=$(python3 -c 'import secrets; print(secrets.token_hex(32))') password=$token
    weir_public=$(free_port) weir_admin=$(free_port)
    psql -Xq "$superuser" -c "create role weir login password '$password'" -c 'create database weir owner weir'
    export DATABASE_URL=postgres://weir:$password@$host/weir WEIR_ADMIN_DATABASE_URL=${superuser%/*}/weir WEIR_DATA_DIR=$tmp/weir
    export WEIR_ADMIN__TOKEN=$token WEIR_JOURNAL__DIR=$tmp/weir/journal WEIR_PRIVACY__IP=full
    export WEIR_RECEIVE__LISTEN=127.0.0.1:$weir_public WEIR_ADMIN__LISTEN=127.0.0.1:$weir_admin
    # As deploy/ has it for a proxy on this machine.
    export WEIR_RECEIVE__TRUSTED_PROXIES='["127.0.0.1/32"]'
    start weir "$weir" serve
    if ! until_true 30 "$weir" healthcheck; then
        cat "$tmp/weir.log" >&2
        die "weir did not start"
    fi
    key=$("$weir" source add web 2>/dev/null | grep -o 'pk_[A-Za-z0-9_-]*' | head -n 1)
    # The first collector is still making tables, which PostgreSQL does not let two change at once: adding again is always right.
    until_true 20 alice || die "$(cat "$tmp/alice")"
    psql -Xq "$superuser" -c 'create role weir_test_people' -c 'grant weir_test_people to alice'
    # Keys are looked for every two seconds.
    until_true 15 curl -sf "http://127.0.0.1:$weir_public/v1/events?key=$key" -H 'content-type: application/json' \
        -d '{"name":"first"}' || die "weir takes no events"
    quietly openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=collector.example \
        -addext 'subjectAltName=DNS:collector.example,DNS:console.example' -keyout "$tmp/privkey.pem" -out "$tmp/fullchain.pem"
    chmod 644 "$tmp/fullchain.pem"
    by_nginx
    by_caddy
    curl -sf -H "authorization: Bearer $token" "http://127.0.0.1:$weir_admin/metrics" >"$tmp/scrape"
    check "names of metrics, with a scrape" alerts_and_names "$tmp/scrape"
    by_prometheus
}
