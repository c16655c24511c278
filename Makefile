# Only entry points; the work is in scripts/ and in Cargo.
SHELL := bash
# rustup's directory, for shells that lack it.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.DEFAULT_GOAL := help
.PHONY: help run test check-image check-openapi test-frameworks test-engines test-clickhouse test-upgrade compare-trackers soak lint fuzz mutants bench bench-dashboard bench-import bench-rollups bench-singer instructions microbench loadtest release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and start weir, with a PostgreSQL of its own (ARGS='--json')
	@exec scripts/run $(ARGS)

test: ## run all tests, installing what they need (ARGS are for cargo test)
	@exec scripts/test $(ARGS)

check-image: ## build the Dockerfile by buildah, as root, and run what came of it (ARGS=--own-bases without a registry)
	@exec scripts/check-image $(ARGS)

check-openapi: ## look for requests that are answered otherwise than docs/openapi.json says (ARGS='EXAMPLES SEED')
	@exec scripts/check-openapi $(ARGS)

test-frameworks: ## run the code of docs/snippet.md in all frameworks, Next.js too
	@exec scripts/test-frameworks

test-engines: ## run the snippet in Firefox and WebKitGTK (Debian's)
	@exec scripts/test-engines

test-clickhouse: ## read the lake, and follow PostgreSQL, with ClickHouse's newest engine (PyPI's chdb: 260 MB)
	@exec scripts/test-clickhouse

test-upgrade: ## upgrade two collectors from an earlier weir, built here, and back, under load
	@exec scripts/test-upgrade

compare-trackers: ## measure the snippet beside other products' trackers, in Chromium: a table
	@exec scripts/compare-trackers

soak: ## run the long tests of the guarantee (WEIR_SOAK_MINUTES)
	@exec scripts/soak

lint: ## check formatting, clippy, licences and dependencies
	@exec scripts/lint

fuzz: ## look for inputs that break something (ARGS='SECONDS TARGET...')
	@exec scripts/fuzz $(ARGS)

mutants: ## change journal and flush in small ways and see the tests notice (hours; ARGS)
	@exec scripts/mutants $(ARGS)

bench: ## measure weir beside what bounds it and beside its peers: a table, pictures, figures (ARGS)
	@exec scripts/bench $(ARGS)

bench-dashboard: ## measure how long each panel of the dashboard takes: half an hour and 25 GB, or less (ARGS='ROWS DAYS')
	@exec scripts/bench-dashboard $(ARGS)

bench-import: ## measure `weir import` beside a raw COPY of the rows that it makes (ARGS='RECORDS ROUNDS FORMAT')
	@exec scripts/bench-import $(ARGS)

bench-rollups: ## measure what rollups cost: an hour and 25 GB, or less (ARGS='ROWS NEW DAYS ROUNDS')
	@exec scripts/bench-rollups $(ARGS)

bench-singer: ## load a tap's output by weir and by MeltanoLabs' target-postgres, and compare (ARGS='RECORDS ROUNDS')
	@exec scripts/bench-singer $(ARGS)

instructions: ## count the processor's instructions an event, and fail if they have risen (ARGS=--renew)
	@exec scripts/instructions $(ARGS)

microbench: ## run the micro-benchmarks
	@. scripts/lib.sh && need_rust
	cargo bench --locked $(ARGS)

loadtest: ## measure a running collector on a throw-away PostgreSQL (ARGS)
	@. scripts/lib.sh && need_rust
	scripts/with-postgres "$$(scripts/postgres-bin)" -- \
		cargo run --release --locked --example loadtest -- $(ARGS)

release: ## make a tarball, a Debian package, licences, an SBOM and checksums in target/dist (ARGS=--verify builds again and compares)
	@exec scripts/release $(ARGS)

clean: ## remove what was built and downloaded (not weir-data)
	cargo clean
	rm -rf js-snippet/node_modules console/node_modules
