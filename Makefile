# The commands of the project. Each sets up what it needs in .venv.
PYTHON ?= python3
BIN := .venv/bin
# Bytecode of what is imported is kept, whatever the shell says: without it TensorFlow takes 3 times as long to import.
export PYTHONDONTWRITEBYTECODE :=
PROTOC := $(BIN)/python -m grpc_tools.protoc -Iservice/pb=proto/unroll/v1 -Iservice/pb=proto/oip

.PHONY: demo test test-compose lint serve bench fuzz generate stubs lock clean
.DEFAULT_GOAL := demo

demo: .venv/installed  ## train, register, serve, predict, override, take back
	$(BIN)/unroll demo

# Four processes for two cores: of three, which wait for servers, a sixth of the cores was idle.
test: .venv/installed  ## the test suite; COVERAGE=--cov measures it, and fails below the floor in pyproject.toml
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder $(COVERAGE)

test-compose: .venv/installed  ## the deployment for real: needs a Docker engine; prints what it measured
	$(BIN)/pytest -m compose --capture=no --verbose tests/deploy

serve: .venv/installed  ## train if there is no champion, then server, web page and MLflow UI until Ctrl-C
	$(BIN)/unroll up

bench: .venv/installed  ## the benchmarks: ratios, taken side by side
	$(BIN)/python -m benchmarks

fuzz: .venv/installed  ## the reader of .keras files, by coverage and against Keras, and HTTP/2; FUZZ="--runs 1000000" for longer
	$(BIN)/python -m tests.fuzz $(FUZZ)
	$(BIN)/python -m tests.fuzz.oracle
	$(BIN)/python -m tests.fuzz.http2 $(FUZZ)

lint: .venv/installed  ## formatting, lint, types, protos, and whether generated code is current
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/buf lint
	$(BIN)/buf breaking --against proto/released.binpb
	$(MAKE) --no-print-directory stubs INTO=$(STALE)
	diff -r -x __init__.py -x __pycache__ $(STALE)/service/pb service/pb
lint: STALE := $(shell mktemp -d)

generate: .venv/installed  ## service/pb from proto/, and docs/layers.md from the reader's tables
	$(MAKE) --no-print-directory stubs INTO=.
	$(BIN)/python -c 'from service.model.supported import document; print(document(), end="")' > docs/layers.md

# The Open Inference Protocol is kept as a descriptor, for a pool of its own: see service/oip/messages.py.
stubs:
	mkdir -p $(INTO)/service/pb
	$(PROTOC) --python_out=$(INTO) --pyi_out=$(INTO) --grpc_python_out=$(INTO) service/pb/unroll.proto
	$(PROTOC) --pyi_out=$(INTO) --descriptor_set_out=$(INTO)/service/pb/inference.binpb service/pb/inference.proto

lock: .venv/installed  ## constraints.txt anew: all versions with hashes, for all platforms; UPGRADE=--upgrade for newer ones
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra dev --generate-hashes --no-header --no-annotate \
		--no-emit-index-url $(UPGRADE) --quiet --output-file constraints.txt pyproject.toml

clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/installed: pyproject.toml constraints.txt tools/install.py
	@$(PYTHON) tools/install.py .venv
	@touch $@
