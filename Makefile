# Everything runs on Debian 12 with git, make and Rust; missing Debian packages are installed first, by name.
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
export FULCRUM_BIN := $(abspath $(TARGET)/release/fulcrum)

.PHONY: help packages build lint test kube-apiserver test-kubernetes soak versions demo bench clean
help: ## What there is.
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 25

packages: ## Install what the tests need from Debian, and say what.
	@scripts/packages.sh test

build: ## The fulcrum binary, optimised.
	@scripts/packages.sh build
	$(CARGO) build --release --locked -p fulcrum
	@echo "built $(FULCRUM_BIN)"

lint: ## Formatting and lints.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

test: ## Every test, in under 15 minutes from a warm build.
	@scripts/test.sh

kube-apiserver: ## The kube-apiserver and kubectl that the tests run, built once, in about ten minutes.
	@scripts/packages.sh test
	@scripts/kube-apiserver.sh

test-kubernetes: kube-apiserver build ## The tests with a real kube-apiserver alone; ARGS=a test's name.
	$(CARGO) test --locked -p fulcrum-tests --test 'kube*' -- --test-threads=1 $(ARGS)

soak: ## The tests with their full counts; writes the results into docs/promises.md; ARGS="simulation fuzz" for some.
	@scripts/soak.sh $(ARGS)

versions: ## Nodes of an earlier version beside those of this one, and a roll from it; EARLIER=a tag or a commit.
	@scripts/versions.sh "$(EARLIER)"

demo: ## The pair in a lab, its leader killed before your eyes; ARGS=--no-wait for scripts; NODES=5 for five that share; K8S=1 for a Service of Kubernetes.
	@scripts/demo.sh $(if $(K8S),--kubernetes) $(if $(NODES),--nodes $(NODES)) $(ARGS)

bench: ## Every number we publish; writes bench/RESULTS.md.
	@scripts/packages.sh bench
	$(CARGO) build --release --locked -p fulcrum -p fulcrum-bench
	$(TARGET)/release/fulcrum-bench --results bench/RESULTS.md $(or $(ARGS),all)

clean: ## Remove what was built.
	$(CARGO) clean
